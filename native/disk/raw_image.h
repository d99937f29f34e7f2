// A raw file that others stand on: a disk that is read as it lies there.
#pragma once

#include <memory>
#include <utility>

#include "disk/disk_image.h"

namespace tsvmm {

class RawImage final : public DiskImage {
 public:
  // `file` is read-only, its options' size that of the disk.
  explicit RawImage(std::unique_ptr<DiskAccess> file) : DiskImage(std::move(file)) {}

  Extent map(uint64_t offset, uint64_t length, Use /*use*/) override {
    return {.kind = Extent::Kind::kFile, .offset = offset, .length = length, .file = &file()};
  }
  int read(uint64_t offset, std::span<const iovec> pieces) override { return file().read(offset, pieces); }
  int write(uint64_t /*offset*/, std::span<const iovec> /*pieces*/) override { return -EROFS; }
  int discard(uint64_t /*offset*/, uint64_t /*length*/) override { return -EROFS; }
  int write_zeroes(uint64_t /*offset*/, uint64_t /*length*/, bool /*unmap*/) override { return -EROFS; }
  int flush() override { return 0; }
  int settle() override { return 0; }
};

}  // namespace tsvmm
