// The host side of a disk: what a raw file or block device can do, and the system calls of a request's steps.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

struct DiskOptions {
  uint64_t size = 0;  // bytes, at first
  bool read_only = false;
  uint32_t alignment = 1;  // of buffers, offsets and lengths; 1 where the descriptor is not O_DIRECT
  bool sparse = true;      // deallocated space stays so
};

class DiskAccess;

// One host call; what it returns is bytes or -errno. `pieces` stay valid until it has returned.
struct DiskStep {
  enum class Kind : uint8_t { kRead, kWrite, kSync, kAllocate };
  Kind kind;
  const DiskAccess* file;
  bool durable = false;  // kWrite: on stable storage when it returns (RWF_DSYNC)
  int mode = 0;          // kAllocate: of fallocate
  uint64_t offset = 0;
  uint64_t length = 0;
  const iovec* pieces = nullptr;
  unsigned count = 0;
};

// Any thread, all methods.
class DiskAccess {
 public:
  // Duplicates the descriptor.
  static Result<std::unique_ptr<DiskAccess>> create(int fd, const DiskOptions& options);

  int fd() const { return fd_.get(); }
  const DiskOptions& options() const { return options_; }
  uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  // The file is so large by now.
  void grow(uint64_t size) { size_.store(size, std::memory_order_relaxed); }

  // Blocks. `flags` are of preadv2 and pwritev2 (RWF_NOWAIT).
  int64_t perform(const DiskStep& step, int flags = 0) const;
  // A write of a part of the alignment unit: reads the rest, changes it, writes it, one at a time on this disk.
  // `buffer` is aligned and holds the data at offset % alignment; it has room for whole units. Blocks. 0 or -errno.
  int write_unaligned(uint64_t offset, std::byte* buffer, size_t length, bool durable);
  // For who changes a range in another way: keeps write_unaligned() out while it is held, since that writes what it has
  // read of the rest of a unit. Holds nothing where the range is of whole units.
  std::unique_lock<std::mutex> hold(uint64_t offset, uint64_t length);
  // All of the pieces, however they and `offset` are aligned. Blocks. 0 or -errno; EIO where the file ends before.
  int read(uint64_t offset, std::span<const iovec> pieces) const;
  int write(uint64_t offset, std::span<const iovec> pieces);
  // Deallocates (punches a hole, BLKDISCARD); success where the host cannot. Blocks.
  bool is_block_device() const { return block_device_; }
  int discard_device_range(uint64_t offset, uint64_t length) const;

 private:
  DiskAccess(UniqueFd fd, const DiskOptions& options, bool block_device)
      : fd_(std::move(fd)), options_(options), size_(options.size), block_device_(block_device) {}

  bool is_aligned(uint64_t offset, std::span<const iovec> pieces) const;
  int transfer(DiskStep::Kind kind, uint64_t offset, std::span<const iovec> pieces) const;

  UniqueFd fd_;
  DiskOptions options_;
  std::atomic<uint64_t> size_;
  bool block_device_;
  std::mutex modify_;
};

}  // namespace tsvmm
