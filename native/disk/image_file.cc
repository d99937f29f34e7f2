#include "disk/image_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "sys/unique_fd.h"

namespace tsvmm {

namespace {

class HostFile final : public ImageFile {
 public:
  HostFile(UniqueFd fd, uint64_t size, bool block_device)
      : fd_(std::move(fd)), size_(size), block_device_(block_device) {}

  uint64_t size() const override { return size_.load(std::memory_order_relaxed); }
  bool is_block_device() const override { return block_device_; }
  int read(uint64_t offset, std::span<std::byte> bytes) const override;
  int write(uint64_t offset, std::span<const std::byte> bytes) override;
  int sync() override { return fdatasync(fd_.get()) == 0 ? 0 : -errno; }
  int resize(uint64_t size) override;
  int clear(uint64_t offset, uint64_t length, bool gives_back) override;

 private:
  UniqueFd fd_;
  std::atomic<uint64_t> size_;
  bool block_device_;
};

int HostFile::read(uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const auto count = pread(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -errno;
    if (count == 0) break;
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  std::memset(bytes.data(), 0, bytes.size());
  return 0;
}

int HostFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto count = pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? -errno : -EIO;
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return 0;
}

int HostFile::resize(uint64_t size) {
  if (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return -errno;
  size_ = size;
  return 0;
}

int HostFile::clear(uint64_t offset, uint64_t length, bool gives_back) {
  const int mode = (gives_back ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
  if (fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0) return 0;
  return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

}  // namespace

Result<std::unique_ptr<ImageFile>> open_image_file(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return last_failure("fcntl");
  UniqueFd own((flags & O_DIRECT) == 0
                   ? fcntl(fd, F_DUPFD_CLOEXEC, 0)
                   : ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), (flags & O_ACCMODE) | O_CLOEXEC));
  if (!own.is_open()) return last_failure("open");
  struct stat status;
  if (fstat(own.get(), &status) != 0) return last_failure("fstat");
  auto size = static_cast<uint64_t>(status.st_size);
  const bool block_device = S_ISBLK(status.st_mode);
  if (block_device && ioctl(own.get(), BLKGETSIZE64, &size) != 0) return last_failure("BLKGETSIZE64");
  return std::unique_ptr<ImageFile>(std::make_unique<HostFile>(std::move(own), size, block_device));
}

}  // namespace tsvmm
