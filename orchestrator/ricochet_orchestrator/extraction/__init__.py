"""Text out of HTML, PDF, DOCX and EPUB, in a process with limits: such files are strangers'."""
