# between jails | the machine's pool of random bytes, by the ioctls of /dev/urandom | refused, and not emptied
import fcntl, os
took = []
for mode in (os.O_RDONLY, os.O_RDWR):
    try:
        device = os.open("/dev/urandom", mode)
    except OSError:
        continue
    for command in (0x5204, 0x5206, 0x40085203, 0x5207):  # RNDZAPENTCNT, RNDCLEARPOOL, RNDADDENTROPY, RNDRESEEDCRNG
        try:
            fcntl.ioctl(device, command, bytes(16))
            took.append(hex(command))
        except OSError:
            pass
print("held" if not took else took)
