import io
import os
import stat
import tarfile
import threading
import zipfile

import pytest
from pictures import save_all, snapshot

from alasca_pl.data import archives
from alasca_pl.data.archives import extract, is_archive


@pytest.fixture
def where(tmp_path):
    """A folder with room around it, so that what escapes is seen."""
    (tmp_path / "user").mkdir()
    return tmp_path


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".extracted.json"
    }


def pack(path, source):
    names = sorted(file.relative_to(source).as_posix() for file in source.rglob("*"))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.write(source / name, name)
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
            for name in names:
                file.add(source / name, name, recursive=False)
    return path


def tar_of(path, *members):
    """Write a tar of ``TarInfo`` or names, each regular file with the content "x"."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for member in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
                member.size = 1
            file.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w") as file:
        for member in members:
            file.writestr(member, b"x")
    return path


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def is_untouched(where):
    """Neither the canary outside nor anything in the target exists, but locks."""
    left = [path for path in where.rglob("*") if path.is_file() and path.parent.name != "user"]
    return all(path.name.endswith(".lock") for path in left) and not (where / "canary").exists()


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz"])
def test_an_archive_is_unpacked_once(where, ending):
    source = save_all(where / "source", "cat/a.png", "dög <b>/b c.png")
    archive = pack(where / "user" / f"data{ending}", source)
    before = snapshot(where / "user")
    folder = extract(archive, where / "target")
    assert folder.parent == where / "target"
    assert tree(folder) == tree(source)
    assert snapshot(where / "user") == before
    first = snapshot(folder)
    assert extract(archive, where / "target") == folder
    assert snapshot(folder) == first
    assert not [
        path for path in (where / "target").iterdir() if path.name.startswith(f".{folder.name}.") and path.is_dir()
    ]


def test_another_archive_of_the_same_name_is_unpacked_beside(where):
    one = extract(pack(where / "user/data.tar", save_all(where / "one", "a.png")), where / "target")
    two = extract(pack(where / "user/data.tar", save_all(where / "two", "a.png", "b.png")), where / "target")
    assert one != two
    assert len(tree(one)) == 1 and len(tree(two)) == 2


def test_a_changed_extraction_is_refused(where):
    archive = pack(where / "user/data.tar", save_all(where / "source", "a.png", "b.png"))
    folder = extract(archive, where / "target")
    (folder / "a.png").unlink()
    with pytest.raises(ValueError, match=r"was changed after.*remove it"):
        extract(archive, where / "target")


def test_a_foreign_folder_in_the_way_is_refused(where):
    archive = pack(where / "user/data.tar", save_all(where / "source", "a.png"))
    folder = extract(archive, where / "target")
    (folder / ".extracted.json").write_text("{}")
    with pytest.raises(ValueError, match="was changed"):
        extract(archive, where / "target")


def test_several_threads_unpack_once(where):
    archive = pack(where / "user/data.zip", save_all(where / "source", *(f"{i}.png" for i in range(20))))
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(extract(archive, where / "target"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 4 and len(set(folders)) == 1
    assert len(tree(folders[0])) == 20


HOSTILE = {
    "absolute": "{where}/canary",
    "parent": "../canary",
    "deep parent": "a/../../../canary",
    "backslash": "..\\canary",
    "inner backslash": "a\\canary",
    "drive": "C:\\canary",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("ending", [".zip", ".tar", ".tgz"])
def test_members_that_lead_out_are_refused_before_anything_is_written(where, kind, ending):
    name = HOSTILE[kind].format(where=where)
    make = zip_of if ending == ".zip" else tar_of
    archive = make(where / "user" / f"bad{ending}", "fine.png", name)
    with pytest.raises(ValueError, match=r"cannot unpack .*bad.*: its member"):
        extract(archive, where / "target")
    assert is_untouched(where)


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, ".."),
        special("link", tarfile.SYMTYPE, "fine.png"),
        special("link", tarfile.LNKTYPE, "fine.png"),
        special("link", tarfile.LNKTYPE, "/etc/passwd"),
        special("device", tarfile.CHRTYPE),
        special("device", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.type.decode()} {info.linkname}",
)
def test_links_and_devices_in_a_tar_are_refused(where, member):
    archive = tar_of(where / "user/bad.tar", "fine.png", member, "link/canary")
    with pytest.raises(ValueError, match="is a link or a device"):
        extract(archive, where / "target")
    assert is_untouched(where)


def test_links_in_a_zip_are_refused(where):
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = zip_of(where / "user/bad.zip", "fine.png", link)
    with pytest.raises(ValueError, match="'link' is a link or a device"):
        extract(archive, where / "target")
    assert is_untouched(where)


def test_an_encrypted_zip_is_refused(where):
    archive = zip_of(where / "user/bad.zip", "fine.png")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"'fine\.png' is encrypted"):
        extract(archive, where / "target")
    assert is_untouched(where)


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tgz"])
def test_limits_hold_before_anything_is_written(where, ending):
    make = zip_of if ending == ".zip" else tar_of
    archive = make(where / "user" / f"big{ending}", *(f"{i}.png" for i in range(6)))
    with pytest.raises(ValueError, match="more than 5 bytes or"):
        extract(archive, where / "target", max_bytes=5)
    with pytest.raises(ValueError, match="or 5 files"):
        extract(archive, where / "target", max_files=5)
    assert is_untouched(where)
    assert len(tree(extract(archive, where / "target", max_bytes=6, max_files=6))) == 6


def test_a_zip_bomb_is_refused_by_its_claim(where):
    path = where / "user/bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(20_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="more than 1000000 bytes"):
        extract(path, where / "target", max_bytes=1_000_000)
    assert is_untouched(where)


def test_a_zip_that_lies_about_a_size_is_refused_and_leaves_nothing(where):
    path = where / "user/liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(100_000))
    content = bytearray(path.read_bytes())
    size = (100_000).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"cannot unpack .*liar\.zip"):
        extract(path, where / "target", max_bytes=1000)
    assert is_untouched(where)


def test_a_tar_with_a_huge_header_is_refused(where, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST_HEADER", 10_000)
    info = tarfile.TarInfo("x" * 50_000)
    archive = tar_of(where / "user/bad.tgz", info, "fine.png")
    with pytest.raises(ValueError, match="has a header of"):
        extract(archive, where / "target")
    assert is_untouched(where)


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
def test_a_truncated_archive_is_named_and_leaves_nothing(where, ending, share):
    source = where / "source"
    source.mkdir()
    for i in range(5):
        (source / f"{i}.bin").write_bytes(os.urandom(5000))
    archive = pack(where / "user" / f"cut{ending}", source)
    content = archive.read_bytes()
    # A tar ends with zeros that nobody misses.
    length = len(content) if ending != ".tar" else 5 * 5632
    archive.write_bytes(content[: int(share * length)])
    with pytest.raises(ValueError, match=r"cannot unpack .*cut\."):
        extract(archive, where / "target")
    assert not [path for path in (where / "target").iterdir() if path.is_dir()]


def test_a_tar_with_a_damaged_header_is_not_taken_for_a_shorter_one(where):
    archive = tar_of(where / "user/bad.tar", "a.png", "b.png", "c.png")
    content = bytearray(archive.read_bytes())
    content[1024:1100] = b"\xff" * 76
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or truncated"):
        extract(archive, where / "target")
    assert is_untouched(where)


def test_a_damaged_file_in_a_zip_is_found(where):
    source = where / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(b"content" * 100)
    archive = pack(where / "user/bad.zip", source)
    archive.write_bytes(archive.read_bytes().replace(b"content", b"CONTENT", 1))
    with pytest.raises(ValueError, match=r"cannot unpack .*CRC"):
        extract(archive, where / "target")
    assert not [path for path in (where / "target").iterdir() if path.is_dir()]


def test_a_member_twice_is_refused(where):
    archive = tar_of(where / "user/bad.tar", "a.png", "./a.png")
    with pytest.raises(ValueError, match=r"'\./a\.png' twice"):
        extract(archive, where / "target")
    assert is_untouched(where)


def test_what_apple_adds_is_left_out(where):
    archive = zip_of(where / "user/data.zip", "cat/a.png", "__MACOSX/cat/._a.png")
    folder = extract(archive, where / "target")
    assert list(tree(folder)) == ["cat/a.png"]
    assert extract(archive, where / "target") == folder


def test_files_are_plain_whatever_the_archive_says(where):
    info = tarfile.TarInfo("a.png")
    info.size, info.mode, info.uid = 1, 0o6777, 0
    folder = extract(tar_of(where / "user/data.tar", info), where / "target")
    assert (folder / "a.png").stat().st_mode & 0o7111 == 0
    assert folder.stat().st_mode & 0o500 == 0o500


def test_a_full_disk_is_named_before_anything_is_written(where, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: _Usage())
    archive = tar_of(where / "user/data.tar", "a.png")
    with pytest.raises(OSError, match=r"it needs 1 bytes unpacked, but .* has only 0 left"):
        extract(archive, where / "target")
    assert is_untouched(where)


class _Usage:
    free = 0


def test_what_is_no_archive_is_named(where):
    with pytest.raises(FileNotFoundError, match=r"no archive .*absent\.zip"):
        extract(where / "absent.zip", where / "target")
    (where / "user/data.rar").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"must end in one of \.zip"):
        extract(where / "user/data.rar", where / "target")
    (where / "user/text.zip").write_text("text")
    with pytest.raises(ValueError, match=r"cannot unpack .*text\.zip"):
        extract(where / "user/text.zip", where / "target")
    assert is_archive(where / "A.TAR.GZ") and not is_archive(where / "a.npz")
