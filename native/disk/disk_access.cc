#include "disk/disk_access.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "io/pieces.h"

namespace tsvmm {

namespace {

constexpr size_t kBounceBytes = 256 * 1024;

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// Memory that O_DIRECT takes.
struct Bounce {
  struct Free {
    void operator()(std::byte* pointer) const { std::free(pointer); }
  };

  explicit Bounce(size_t alignment) : bytes(static_cast<std::byte*>(std::aligned_alloc(alignment, kBounceBytes))) {}

  const std::unique_ptr<std::byte, Free> bytes;
};

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

std::unique_lock<std::mutex> DiskAccess::hold(uint64_t offset, uint64_t length) {
  std::unique_lock lock(modify_, std::defer_lock);
  if ((offset | length) % options_.alignment != 0) lock.lock();
  return lock;
}

bool DiskAccess::is_aligned(uint64_t offset, std::span<const iovec> pieces) const {
  auto bits = offset;
  for (const auto& piece : pieces) bits |= reinterpret_cast<uintptr_t>(piece.iov_base) | piece.iov_len;
  return bits % options_.alignment == 0;
}

int DiskAccess::transfer(DiskStep::Kind kind, uint64_t offset, std::span<const iovec> pieces) const {
  std::vector<iovec> left(pieces.begin(), pieces.end());
  for (size_t next = 0; next < left.size();) {
    const auto count = std::min<size_t>(left.size() - next, IOV_MAX);
    const auto result = perform(
        {.kind = kind, .file = this, .offset = offset, .pieces = &left[next], .count = static_cast<unsigned>(count)});
    if (result <= 0) return result < 0 ? static_cast<int>(result) : -EIO;
    offset += static_cast<uint64_t>(result);
    auto done = static_cast<size_t>(result);
    for (; next < left.size() && done >= left[next].iov_len; ++next) done -= left[next].iov_len;
    if (done != 0) left[next] = {static_cast<std::byte*>(left[next].iov_base) + done, left[next].iov_len - done};
  }
  return 0;
}

int DiskAccess::read(uint64_t offset, std::span<const iovec> pieces) const {
  if (is_aligned(offset, pieces)) return transfer(DiskStep::Kind::kRead, offset, pieces);
  const Bounce bounce(options_.alignment);
  if (bounce.bytes == nullptr) return -ENOMEM;
  for (size_t done = 0, length = bytes_of(pieces); done < length;) {
    const auto head = static_cast<size_t>(offset % options_.alignment);
    const auto bytes = std::min(length - done, kBounceBytes - head);
    const iovec whole{bounce.bytes.get(), round_up(head + bytes, options_.alignment)};
    // The file may end within the last unit.
    const auto result =
        perform({.kind = DiskStep::Kind::kRead, .file = this, .offset = offset - head, .pieces = &whole, .count = 1});
    if (result < 0) return static_cast<int>(result);
    if (static_cast<size_t>(result) < head + bytes) return -EIO;
    copy_to_pieces(pieces, done, bounce.bytes.get() + head, bytes);
    done += bytes;
    offset += bytes;
  }
  return 0;
}

int DiskAccess::write(uint64_t offset, std::span<const iovec> pieces) {
  if (is_aligned(offset, pieces)) return transfer(DiskStep::Kind::kWrite, offset, pieces);
  const Bounce bounce(options_.alignment);
  if (bounce.bytes == nullptr) return -ENOMEM;
  for (size_t done = 0, length = bytes_of(pieces); done < length;) {
    const auto head = static_cast<size_t>(offset % options_.alignment);
    const auto bytes = std::min(length - done, kBounceBytes - head);
    copy_from_pieces(pieces, done, bounce.bytes.get() + head, bytes);
    if (const int error = write_unaligned(offset, bounce.bytes.get(), bytes, false); error != 0) return error;
    done += bytes;
    offset += bytes;
  }
  return 0;
}

int DiskAccess::discard_device_range(uint64_t offset, uint64_t length) const {
  uint64_t range[2] = {offset, length};
  return ioctl(fd(), BLKDISCARD, range) == 0 ? 0 : -errno;
}

}  // namespace tsvmm
