"""What passes between the runner and the judge, and the files of one test: frames, descriptors, the scratch folder.

The runner never reads what a program wrote. A test's streams are memory files that the judge made for this test alone
and reads itself; an output file is copied into a fourth one by the kernel."""

import _socket
import posix
import time

CONTROL_FD = 3
ERROR_BYTES = 16384  # of a text that says why a program does not compile
PACKET_BYTES = 1 << 16
TICK_S = 0.02  # longer than one of the kernel's clock
ROOM_FOR_DESCRIPTORS = _socket.CMSG_SPACE(16)  # a test's streams and its output file

TYPE_CHECKING = False  # type checkers take it as true; in a jail, importing `typing` would cost time
if TYPE_CHECKING:
    from collections.abc import Sequence

control = _socket.socket(fileno=CONTROL_FD)


def receive() -> tuple[bytes, "Sequence[int]"]:
    """One packet of the judge and the descriptors that came with it. The judge closing the socket ends this jail."""
    data, attached, _, _ = control.recvmsg(PACKET_BYTES, ROOM_FOR_DESCRIPTORS)
    if not data:
        posix._exit(0)
    return data, memoryview(attached[0][2]).cast("i") if attached else ()


def frame(kind: bytes, *numbers: int) -> bytes:
    """A kind and six numbers of 8 bytes."""
    return kind + b"".join(number.to_bytes(8, "little") for number in (*numbers, *(0,) * 6)[:6])


def send(data: "bytes | bytearray") -> None:
    """Sends one packet."""
    posix.write(CONTROL_FD, data)


def fork() -> int:
    """Forks. Where the machine has no process left, the judge is told: that is no fault of the program."""
    try:
        return posix.fork()
    except OSError:
        send(frame(b"M"))
        while True:
            receive()  # until the judge closes the socket


def empty_folder(folder: str) -> None:
    posix.chmod(folder, 0o700)
    for name in posix.listdir(folder):
        path = f"{folder}/{name}"
        if posix.lstat(path).st_mode & 0o170000 == 0o040000:
            empty_folder(path)
            posix.rmdir(path)
        else:
            posix.unlink(path)


class Scratch:
    """The working folder of every test: empty but for the program's own file, with times that tell nothing.

    A test that left it as it was costs two calls. What a test changes is undone before the next one starts."""

    def __init__(self, folder: str, name: str, source: bytes) -> None:
        self.folder, self.path, self.source = folder, f"{folder}/{name}", source
        self.mode = posix.stat(folder).st_mode & 0o7777
        self.restore()

    def restore(self) -> bool:
        """False if a program made that too hard: then its jail must not be used again."""
        try:
            empty_folder(self.folder)
            write_file(self.path, self.source)
            posix.utime(self.path, (0, 0))
            posix.chmod(self.folder, self.mode)
            posix.utime(self.folder, (0, 0))
            self.written = time.monotonic()
            self.of_folder, self.of_file = self.look()
            return True
        except (OSError, ValueError, RecursionError):
            return False

    def look(self) -> tuple[tuple, tuple]:
        folder, file = posix.stat(self.folder), posix.lstat(self.path)
        of_folder = folder.st_size, folder.st_mode, folder.st_mtime_ns, folder.st_atime_ns
        return of_folder, (file.st_ctime_ns, file.st_mtime_ns, file.st_atime_ns, file.st_nlink)

    def as_it_was(self) -> bool:
        """A file's change is a new `st_ctime`, but for one in the same tick of the kernel's clock as the last."""
        try:
            same = self.look() == (self.of_folder, self.of_file)
            return same and (time.monotonic() - self.written > TICK_S or self.holds_the_source())
        except OSError:
            return False

    def holds_the_source(self) -> bool:
        descriptor = posix.open(self.path, posix.O_RDONLY | posix.O_NOFOLLOW)
        same = posix.read(descriptor, len(self.source) + 1) == self.source
        posix.close(descriptor)
        posix.utime(self.path, (0, 0))
        self.of_file = self.look()[1]
        return same


def write_file(path: str, data: bytes) -> None:
    """Makes a file that is not there yet."""
    descriptor = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW, 0o644)
    view = memoryview(data)
    while view:
        view = view[posix.write(descriptor, view) :]
    posix.close(descriptor)


def read_all(descriptor: int) -> bytes:
    """The whole of a memory file of the judge."""
    size, parts, at = posix.fstat(descriptor).st_size, [], 0
    while at < size and (part := posix.pread(descriptor, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def copy_file(path: str, target: int) -> None:
    """Has the kernel copy a file that the program was to write, if it is a plain file; nothing of it is read here."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK)
        try:
            left = posix.fstat(descriptor).st_size
            while left > 0 and (copied := posix.sendfile(target, descriptor, None, left)):
                left -= copied
        finally:
            posix.close(descriptor)
    except OSError:
        pass  # there is none, or it is no plain file
