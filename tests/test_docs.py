"The documentation renders, and every link, figure and public name is where it should be"
import render_docs


def test_site():
    assert render_docs.main() == []
