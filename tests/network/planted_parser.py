"""A parser with a bug that only five right bytes in a row reach: one in 10^12 by chance."""


def take(data: bytes) -> None:
    if len(data) < 8:
        return
    depth = 0
    if data[0] == 0x52:
        depth = 1
        if data[1] == 0x49:
            depth = 2
            if data[2] == 0x43:
                depth = 3
                if data[3] == 0x4F:
                    depth = 4
                    if data[4] == 0x21:
                        depth = 5
    assert depth < 5, "the planted bug"
