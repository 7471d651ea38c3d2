import numpy as np
import pytest
from pictures import names_of, pixels, save, save_all, snapshot

from alasca_pl.data.table import read_table

IMAGES = tuple(f"pics/{i}.png" for i in range(6))


@pytest.fixture
def root(tmp_path):
    return save_all(tmp_path / "data", *IMAGES)


def table(root, *lines, name="table.csv", encoding="utf-8"):
    path = root / name
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def test_lines_in_their_order_with_numbers_as_labels(root):
    path = table(root, "path,label", "pics/3.png,0", "pics/0.png,2", "pics/1.png,1")
    before = snapshot(root)
    raw = read_table(path)
    assert names_of(raw.train) == ["pics/3.png", "pics/0.png", "pics/1.png"]
    assert raw.train.labels.tolist() == [0, 2, 1]
    assert raw.train.labels.dtype == np.int64
    assert raw.class_names == () and raw.train.clean is None and raw.val is None and raw.test is None
    assert np.array_equal(np.asarray(raw.train.images.read(0)), pixels(3))
    assert snapshot(root) == before


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_as_labels_and_all_delimiters(root, delimiter, encoding):
    lines = ["label,path", "dög <b>,pics/0.png", "cat x,pics/1.png", "", "dög <b>,pics/2.png"]
    raw = read_table(table(root, *(line.replace(",", delimiter) for line in lines), encoding=encoding))
    assert raw.class_names == ("cat x", "dög <b>")
    assert raw.train.labels.tolist() == [1, 0, 1]


def test_quoted_values_may_hold_the_delimiter(root):
    save(root / "a, b.png")
    raw = read_table(table(root, '"path","label"', '"a, b.png","cat, big"', "pics/0.png,dog"))
    assert names_of(raw.train)[0] == "a, b.png"
    assert raw.class_names == ("cat, big", "dog")


def test_splits_and_clean_labels(root):
    raw = read_table(
        table(
            root,
            "path,label,split,clean_label",
            "pics/0.png,cat,train,cat",
            "pics/1.png,cat,,dog",
            "pics/2.png,dog,valid,emu",
            "pics/3.png,dog,test,cat",
            "pics/4.png,dog,Test,dog",
        )
    )
    # The class that only a clean label names counts, too.
    assert raw.class_names == ("cat", "dog", "emu")
    assert raw.train.labels.tolist() == [0, 0] and raw.train.clean.tolist() == [0, 1]
    assert raw.val.labels.tolist() == [1] and raw.val.clean.tolist() == [2]
    assert names_of(raw.test) == ["pics/3.png", "pics/4.png"]
    assert raw.test.labels.tolist() == raw.test.clean.tolist() == [0, 1]


def test_clean_labels_of_some_lines_are_not_used(root, caplog):
    lines = ["path,label,split,clean_label", "pics/0.png,0,train,1", "pics/1.png,1,train,", "pics/2.png,1,val,0"]
    raw = read_table(table(root, *lines))
    assert raw.train.clean is None
    assert raw.val.clean.tolist() == [0]
    assert "only 1 of 2 clean labels of the train split" in caplog.text
    with pytest.raises(ValueError, match="line 6: clean_label is empty, but other lines of the test split"):
        read_table(table(root, *lines, "pics/3.png,0,test,1", "pics/4.png,0,test,"))


def test_paths_are_relative_to_another_root_on_request(root, tmp_path):
    path = table(tmp_path, "path,label", "0.png,0", "./1.png,1")
    raw = read_table(path, root / "pics")
    assert names_of(raw.train) == ["0.png", "1.png"]
    assert np.array_equal(np.asarray(raw.train.images.read(1)), pixels(1))
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent; set data\.root"):
        read_table(path, tmp_path / "absent")


def test_a_line_may_be_broken_within_quotes_and_lines_are_counted_as_in_the_file(root):
    with pytest.raises(ValueError, match=r"line 4: label '3\.5'"):
        read_table(table(root, "path,label", '"pics/0.png\n",1', "pics/1.png,3.5"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label", "pics/0.png,0", "pics/1.png,3.5"], r"line 3: label '3\.5' is not a whole number"),
        (["path,label", "pics/0.png,1.0", "pics/1.png,0.0"], r"line 2: label '1\.0' is not a whole number"),
        (["path,label", "pics/0.png,0", "pics/1.png,-1"], "line 3: label '-1' is not a whole number"),
        (["path,label", "pics/0.png,0", "pics/1.png,"], "line 3: the label is empty"),
        (["path,label", "pics/0.png,cat", "pics/1.png, "], "line 3: the label is empty"),
        (["path,label", "pics/0.png,0", "pics/1.png,cat"], "line 2 has '0' and line 3 'cat'"),
        (["path,label,clean_label", "pics/0.png,0,cat"], "line 2 has '0' and line 2 'cat'"),
        (["path,label", "pics/0.png,99999999999999999999"], "line 2: label '99999999999999999999'"),
        (["path,label,split", "pics/0.png,0,training"], "line 2: unknown split 'training'; choose one of train, val"),
        (["path,label,split", "pics/0.png,0,test"], "no line is in the training split"),
        (["path,label"], "no line is in the training split"),
        ([""], "its first line is ''; it must name the columns"),
        (["file,class", "pics/0.png,0"], "its first line is 'file,class'"),
        (["path,label,clean_lable", "pics/0.png,0,1"], r"unknown column\(s\) 'clean_lable'; use path, label"),
        (["path,label,label", "pics/0.png,0,1"], "a column occurs twice"),
        (["path,label", "pics/0.png,0,1"], "line 2 has 3 values, but the header 2"),
        (["path,label", "pics/0.png"], "line 2 has 1 values, but the header 2"),
        (["path,label", '"pics/0.png,0'], "unexpected end of data"),
        (["path,label", "/etc/passwd,0"], "line 2: path '/etc/passwd' is absolute"),
        (["path,label", "pics/0.png,0", "../data/pics/1.png,1"], "line 3: path '../data/pics/1.png' leads out"),
        (["path,label", "C:\\a.png,0"], "line 2: path .* is absolute"),
        (["path,label", ",0"], "line 2: path '' is empty"),
        (["path,label", "pics,0"], r"1 image\(s\) are missing in .*: 'pics' \(line 2\)"),
    ],
)
def test_mistakes_are_named(root, lines, message):
    with pytest.raises(ValueError, match=rf"cannot use .*table\.csv: .*{message}"):
        read_table(table(root, *lines))


def test_missing_images_are_counted_and_named_with_their_lines(root):
    lines = [f"absent/{i}.png,0" for i in range(7)]
    with pytest.raises(ValueError, match=r"7 image\(s\) are missing in .*: 'absent/0\.png' \(line 3\).* and 2 more"):
        read_table(table(root, "path,label", "pics/0.png,0", *lines))


def test_an_image_twice_in_training_is_an_error_and_in_two_splits_a_warning(root, caplog):
    lines = ["path,label,split", "pics/0.png,0,", "pics/1.png,1,"]
    with pytest.raises(ValueError, match=r"1 image\(s\) are in the training split twice: 'pics/0\.png' \(line 4\)"):
        read_table(table(root, *lines, "./pics//0.png,1,train"))
    read_table(table(root, *lines, "pics/0.png,1,test"))
    assert "1 image(s) of the training split are also in another: 'pics/0.png'" in caplog.text


def test_links_that_lead_out_are_refused(root, tmp_path):
    save_all(tmp_path / "secret", "1.png")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "file.png").symlink_to(tmp_path / "secret/1.png")
    (root / "chain.png").symlink_to(root / "file.png")
    for name in ("out/1.png", "file.png", "chain.png"):
        with pytest.raises(ValueError, match=f"line 2: path '{name}' leads out of its folder through a link"):
            read_table(table(root, "path,label", f"{name},0"))


def test_links_that_stay_inside_are_followed(root, tmp_path):
    (root / "in").symlink_to(root / "pics")
    (root / "in.png").symlink_to(root / "pics/1.png")
    (tmp_path / "link").symlink_to(root)
    table(root, "path,label", "in/0.png,0", "in.png,1")
    raw = read_table(tmp_path / "link/table.csv")
    assert np.array_equal(np.asarray(raw.train.images.read(1)), pixels(1))


def test_a_link_to_nothing_is_missing(root):
    (root / "gone.png").symlink_to(root / "nothing.png")
    with pytest.raises(ValueError, match=r"'gone\.png' \(line 2\)"):
        read_table(table(root, "path,label", "gone.png,0"))


def test_other_encodings_and_binary_files_are_named(root):
    with pytest.raises(ValueError, match=r"table\.csv: it is not UTF-8"):
        read_table(table(root, "path,label", "pics/0.png,dög", encoding="latin-1"))
    (root / "x.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"cannot use .*x\.csv"):
        read_table(root / "x.csv")
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.csv; set data\.path"):
        read_table(root / "absent.csv")


def test_a_path_finds_its_file_in_another_normal_form_but_never_twice(root):
    """File systems of Apple's machines store accents apart, tables usually together."""
    composed, decomposed = "pics/caf\u00e9.png", "pics/cafe\u0301.png"
    save(root / decomposed, 5)
    raw = read_table(table(root, "path,label", f"{composed},0", "pics/1.png,1"))
    assert names_of(raw.train) == [decomposed, "pics/1.png"]
    assert np.array_equal(np.asarray(raw.train.images.read(0)), pixels(5))
    with pytest.raises(ValueError, match="training split twice"):
        read_table(table(root, "path,label", f"{composed},0", f"{decomposed},1"))
    save(root / composed, 6)
    raw = read_table(table(root, "path,label", f"{composed},0", f"{decomposed},1"))
    assert names_of(raw.train) == [composed, decomposed]
