"""What goes into a test and comes out of it: the three memory files, the files of a problem, frames to the judge."""

import posix

CONTROL_FD = 3
ERROR_BYTES = 16384  # of standard error, its end
OVERSIZED_OUTPUT_BYTES = 65536  # of an output beyond its limit, its start
SEEK_SET, SEEK_END = 0, 2


def frame(kind: bytes, output: bytes = b"") -> bytes:
    """Of no test: numbers that are zero, and a text."""
    return frame_of(kind, (0,) * 7, output, b"")


def frame_of(kind: bytes, numbers: tuple[int, ...], output: bytes, error: bytes) -> bytes:
    numbers = (*numbers, len(output), len(error))
    return b"".join((kind, *(number.to_bytes(8, "little") for number in numbers), output, error))


def send(data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[posix.write(CONTROL_FD, view) :]


def fork() -> int:
    """Where the machine has no process left, the judge is told: that is no fault of the program."""
    try:
        return posix.fork()
    except OSError:
        send(frame(b"M"))
        while posix.read(CONTROL_FD, 1 << 16):
            pass  # until the judge closes the socket, see the end of `main`
        posix._exit(0)


def empty_scratch(folder: str, mode: int = 0o700) -> bool:
    """True if the folder is empty now. A program that makes that hard ends its jail instead (see `main`)."""
    try:
        posix.chmod(folder, mode & 0o7777)
        for name in posix.listdir(folder):
            path = f"{folder}/{name}"
            if posix.lstat(path).st_mode & 0o170000 == 0o040000:
                empty_scratch(path)
                posix.rmdir(path)
            else:
                posix.unlink(path)
        posix.utime(folder, (0, 0))
        return True
    except (OSError, ValueError, RecursionError):
        return False


def load_input(data: bytes) -> None:
    posix.ftruncate(0, 0)
    written = posix.pwrite(0, data, 0)
    while written < len(data):
        written += posix.pwrite(0, memoryview(data)[written:], written)
    posix.lseek(0, 0, SEEK_SET)


def make_input_file(data: bytes, path: str) -> None:
    descriptor = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, 0o600)
    posix.write(descriptor, data)
    posix.close(descriptor)


def read_output(descriptor: int, size: int, limit: int) -> bytes:
    """The whole output within its limit, else only its start."""
    return posix.pread(descriptor, size if size <= limit else OVERSIZED_OUTPUT_BYTES, 0)


def read_output_file(path: str, limit: int) -> tuple[int, bytes]:
    """Size and content of a file the program was to write; (0, b"") if it wrote none."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK)
        try:
            size = posix.lseek(descriptor, 0, SEEK_END)
            return size, read_output(descriptor, size, limit)
        finally:
            posix.close(descriptor)
    except OSError:
        return 0, b""


def empty(descriptor: int) -> None:
    posix.ftruncate(descriptor, 0)
    posix.lseek(descriptor, 0, SEEK_SET)


def read_error(size: int) -> bytes:
    """The end of it."""
    return posix.pread(2, ERROR_BYTES, max(0, size - ERROR_BYTES))
