// What images have in common whose tables say where parts of the disk lie.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "disk/disk_image.h"
#include "disk/image_fault.h"
#include "disk/table_cache.h"

namespace tsvmm {

class MappedImage : public DiskImage {
 public:
  int read(uint64_t offset, std::span<const iovec> pieces) final;
  int write(uint64_t offset, std::span<const iovec> pieces) final;
  std::string take_fault() final { return fault_.take(); }

 protected:
  using DiskImage::DiskImage;

  // A range that map() calls kOther, or its beginning; returns how many bytes that was, 0 where map() knows now.
  virtual Result<uint64_t> read_other(uint64_t offset, std::span<const iovec> pieces) = 0;
  virtual Result<uint64_t> write_other(uint64_t offset, std::span<const iovec> pieces) = 0;

  // Writes zeroes where there are none. 0 or -errno.
  int write_zero_bytes(uint64_t offset, uint64_t length);

  // How a block of a table comes into memory, while others load or change blocks of it. 0 or -errno.
  struct Loading {
    std::function<bool()> is_there;   // under the lock
    std::function<uint64_t()> start;  // under the lock: where the block begins in the file
    std::function<int(uint64_t start, std::vector<std::byte>& bytes)> read;  // and check; 0 or -errno
  };
  static int load(std::mutex& lock, TableCache& cache, const Loading& loading);

  ImageFault fault_;
};

}  // namespace tsvmm
