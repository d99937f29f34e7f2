#include "disk/probe.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "sys/unique_fd.h"

namespace tsvmm {

namespace {

// The queue belongs to the whole disk: a partition's is one directory up.
bool device_discards(dev_t device) {
  for (const char* place : {"queue", "../queue"}) {
    char path[96];
    std::snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/discard_max_bytes", major(device), minor(device), place);
    UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
    if (!fd.is_open()) continue;
    char text[32] = {};
    return read(fd.get(), text, sizeof(text) - 1) > 0 && std::strtoull(text, nullptr, 10) != 0;
  }
  return false;
}

}  // namespace

Result<DiskProbe> probe_disk(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return last_failure("fstat");
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return last_failure("fcntl");
  const bool writable = (flags & O_ACCMODE) != O_RDONLY;
  DiskProbe probe;
  if (S_ISREG(status.st_mode)) {
    probe.size = static_cast<uint64_t>(status.st_size);
    // Behind the end there is nothing that a hole could take away.
    probe.discard = writable && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, status.st_size, 4096) == 0;
  } else if (S_ISBLK(status.st_mode)) {
    int block = 0;
    if (ioctl(fd, BLKGETSIZE64, &probe.size) != 0) return last_failure("BLKGETSIZE64");
    if (ioctl(fd, BLKSSZGET, &block) != 0) return last_failure("BLKSSZGET");
    probe.logical_block = static_cast<uint32_t>(block);
    probe.discard = writable && device_discards(status.st_rdev);
  } else {
    return Failure{S_ISDIR(status.st_mode) ? EISDIR : ENOTBLK, "probe disk"};
  }
  // Where the host has no call for it, zeroes are written.
  probe.write_zeroes = writable;
  return probe;
}

Result<bool> lock_file(int fd, bool exclusive) {
  struct flock lock {};
  lock.l_type = exclusive ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return last_failure("F_OFD_SETLK");
}

Result<> unlock_file(int fd) {
  struct flock lock {};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd, F_OFD_SETLK, &lock) != 0) return last_failure("F_OFD_SETLK");
  return Unit{};
}

Result<> forget_cached(int fd) {
  if (const int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); error != 0) return Failure{error, "fadvise"};
  return Unit{};
}

}  // namespace tsvmm
