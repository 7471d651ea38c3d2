"""What the page of an audit tells people to type."""

import html
import re
import shlex

from made import make_audit

from alasca_pl.audit.page import Thumbnail, render_page


def test_commands_of_the_page_can_be_typed_as_they_stand():
    audit, _ = make_audit(count=20, paths=False)

    def pictures(split, rows):
        return [Thumbnail("data:,", False) for _ in rows]

    page = render_page(audit, pictures, 5, [], "/my runs/it's/audit", ["data.root=a b"])
    (block,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert [shlex.split(line) for line in html.unescape(block).splitlines() if line] == [
        ["alasca-audit", "apply", "decisions.csv", "/my runs/it's/audit", "data.root=a b"],
        ["alasca-audit", "estimate", "/my runs/it's/audit", "decisions.csv"],
    ]
