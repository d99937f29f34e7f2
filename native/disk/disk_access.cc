#include "disk/disk_access.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>

namespace tsvmm {

namespace {

// Reads all of a range into aligned memory, zeroes behind the file's end. 0 or -errno.
int read_whole(int fd, std::byte* buffer, size_t length, uint64_t offset) {
  size_t done = 0;
  while (done < length) {
    const auto count = pread(fd, buffer + done, length - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -errno;
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  std::memset(buffer + done, 0, length - done);
  return 0;
}

int write_whole(int fd, const std::byte* buffer, size_t length, uint64_t offset, bool durable) {
  while (length != 0) {
    const iovec piece{const_cast<std::byte*>(buffer), length};
    const auto count = pwritev2(fd, &piece, 1, static_cast<off_t>(offset), durable ? RWF_DSYNC : 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? -errno : -EIO;
    buffer += count;
    offset += static_cast<uint64_t>(count);
    length -= static_cast<size_t>(count);
  }
  return 0;
}

}  // namespace

Result<std::unique_ptr<DiskAccess>> DiskAccess::create(int fd, const DiskOptions& options) {
  UniqueFd own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.is_open()) return last_failure("fcntl");
  struct stat status;
  if (fstat(own.get(), &status) != 0) return last_failure("fstat");
  return std::unique_ptr<DiskAccess>(new DiskAccess(std::move(own), options, S_ISBLK(status.st_mode)));
}

int64_t DiskAccess::perform(const DiskStep& step, int flags) const {
  const auto offset = static_cast<off_t>(step.offset);
  const auto count = static_cast<int>(step.count);
  for (;;) {
    ssize_t result = -1;
    switch (step.kind) {
      case DiskStep::Kind::kRead:
        result = preadv2(fd(), step.pieces, count, offset, flags);
        break;
      case DiskStep::Kind::kWrite:
        result = pwritev2(fd(), step.pieces, count, offset, flags | (step.durable ? RWF_DSYNC : 0));
        break;
      case DiskStep::Kind::kSync:
        result = fdatasync(fd());
        break;
      case DiskStep::Kind::kAllocate:
        result = fallocate(fd(), step.mode, offset, static_cast<off_t>(step.length));
        break;
    }
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

int DiskAccess::write_unaligned(uint64_t offset, std::byte* buffer, size_t length, bool durable) {
  const uint64_t unit = options_.alignment;
  const auto start = offset / unit * unit;
  const auto end = (offset + length + unit - 1) / unit * unit;
  const auto head = static_cast<size_t>(offset - start);
  const auto tail = static_cast<size_t>(end - offset - length);
  auto* edge = static_cast<std::byte*>(std::aligned_alloc(unit, unit));
  if (edge == nullptr) return -ENOMEM;
  // Two changes of one unit must not lose one of them.
  std::lock_guard lock(modify_);
  int error = 0;
  if (head != 0) {
    error = read_whole(fd(), edge, unit, start);
    if (error == 0) std::memcpy(buffer, edge, head);
  }
  if (error == 0 && tail != 0) {
    error = read_whole(fd(), edge, unit, end - unit);
    if (error == 0) std::memcpy(buffer + head + length, edge + unit - tail, tail);
  }
  std::free(edge);
  if (error != 0) return error;
  return write_whole(fd(), buffer, static_cast<size_t>(end - start), start, durable);
}

int DiskAccess::discard_device_range(uint64_t offset, uint64_t length) const {
  uint64_t range[2] = {offset, length};
  return ioctl(fd(), BLKDISCARD, range) == 0 ? 0 : -errno;
}

}  // namespace tsvmm
