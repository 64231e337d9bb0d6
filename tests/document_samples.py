"""Small documents of each kind, written by hand, so that tests know what is in them."""

import zlib
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
HTML = """<!DOCTYPE html>
<html><head><title>Left out</title><style>p { color: red }</style></head>
<body><nav><ul><li>Start</li></ul></nav>
<h1>The  Title</h1>
<p>A <b>bold</b>
word &amp; a <a href="http://example.org">link</a>.<br>Next line.</p>
<script>alert("left out")</script>
<h2>Lists</h2>
<ul><li>one</li><li>two<ul><li>deep</li></ul></li></ul><ol><li>first</li><li>second</li></ol>
<table><tr><th>Name</th><th>Age</th></tr><tr><td>Ada</td><td><p>36</p></td></tr></table>
<pre>def f():
    return 1
</pre>
<div># no heading</div>
<p>Naïve ✓</p></body></html>
"""
HTML_TEXT = """- Start

# The Title

A bold word & a link.
Next line.

## Lists

- one
- two
  - deep

1. first
2. second

Name | Age
Ada | 36

```
def f():
    return 1
```

\\# no heading

Naïve ✓
"""


def archive(members: dict[str, str | bytes]) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as file:
        for name, content in members.items():
            how = ZIP_STORED if name == "mimetype" else ZIP_DEFLATED
            file.writestr(name, content, how)
    return buffer.getvalue()


def paragraph(text: str, style: str = "", more: str = "") -> str:
    shown = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{shown}{more}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def docx(body: str, **others: str) -> bytes:
    styles = (
        '<w:style w:styleId="H1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:styleId="Mine"><w:name w:val="Mine"/><w:basedOn w:val="H2"/></w:style>'
        '<w:style w:styleId="H2"><w:name w:val="Other"/>'
        '<w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
        '<w:style w:styleId="Round"><w:basedOn w:val="Round"/></w:style>'
    )
    return archive(
        {
            "[Content_Types].xml": "<Types/>",
            "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>',
            "word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>',
        }
        | {name.replace("_", "/") + ".xml": text for name, text in others.items()}
    )


DOCX = docx(
    paragraph("Report", "H1")
    + paragraph("Part", "Mine")
    + '<w:p><w:r><w:t xml:space="preserve">Some </w:t></w:r>'
    "<w:del><w:r><w:delText>old</w:delText><w:t>gone</w:t></w:r></w:del>"
    "<w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:r><w:tab/><w:t>words.</w:t><w:br/>"
    "<w:t>Next line.</w:t></w:r></w:p>"
    + "".join(
        paragraph(text, more=f'<w:numPr><w:ilvl w:val="{level}"/></w:numPr>')
        for text, level in (("one", 0), ("deep", 1))
    )
    + "<w:tbl><w:tr>"
    + "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("Ada", "36"))
    + "</w:tr></w:tbl>"
    + paragraph("End.", "Round"),
    word_footnotes=f'<w:footnotes xmlns:w="{W}">{paragraph("A note.")}</w:footnotes>',
)
DOCX_TEXT = """# Report

## Part

Some new words.
Next line.

- one
  - deep

Ada | 36

End.

A note.
"""


def epub(*chapters: str, **others: str) -> bytes:
    names = [f"c {number}.xhtml" for number in range(len(chapters))]
    items = "".join(
        f'<item id="i{n}" href="text/{name.replace(" ", "%20")}" '
        'media-type="application/xhtml+xml"/>'
        for n, name in enumerate(names)
    )
    # The manifest's order is not the reading order; the spine's is.
    spine = "".join(f'<itemref idref="i{n}"/>' for n in reversed(range(len(chapters))))
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:'
        'container"><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf">'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
    }
    members |= {f"OPS/text/{name}": text for name, text in zip(names, chapters, strict=True)}
    return archive(members | {name.replace("__", "/"): text for name, text in others.items()})


def page(title: str, text: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>'
        f"<body><h1>{title}</h1><p>{text}</p></body></html>"
    )


EPUB = epub(page("The End", "It&nbsp;ends."), page("The Beginning", "It begins — so."))
EPUB_TEXT = "# The Beginning\n\nIt begins — so.\n\n# The End\n\nIt\u00a0ends.\n\n"


def pdf(*pages: str, extra: str = "", stream: bytes | None = None) -> bytes:
    """A PDF of pages of one line each, its offsets as they should be."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, text in enumerate(pages):
        drawn = stream or zlib.compress(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode("latin-1"))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            b"/Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % (5 + 2 * number)
        )
        head = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(drawn)
        objects.append(head + drawn + b"\nendstream")
    data, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {extra}>>\n".encode()
    start = b"startxref\n%d\n%%%%EOF\n" % len(data)
    return (
        data + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer + start
    )


PDF = pdf("Page one says this.", "Page two says caf\xe9.")
PDF_TEXT = "Page one says this.\n\nPage two says café.\n\n"
