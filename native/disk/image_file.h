// The file of an image as its tables are read and written: through the page cache, whatever its sectors go through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "sys/result.h"

namespace tsvmm {

// Any thread, all methods; they block, and return 0 or -errno. Tests have one that loses what was not synced.
class ImageFile {
 public:
  ImageFile() = default;
  virtual ~ImageFile() = default;
  ImageFile(const ImageFile&) = delete;
  ImageFile& operator=(const ImageFile&) = delete;

  // In bytes; what others do to it is not seen. Does not block.
  virtual uint64_t size() const = 0;
  virtual bool is_block_device() const = 0;

  // What is behind the file's end is zero.
  virtual int read(uint64_t offset, std::span<std::byte> bytes) const = 0;
  virtual int write(uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual int sync() = 0;
  virtual int resize(uint64_t size) = 0;
  // Zero from now on; `gives_back`: and takes no space. EOPNOTSUPP where the host has no call for that.
  virtual int clear(uint64_t offset, uint64_t length, bool gives_back) = 0;
};

// Opens it anew where `fd` is O_DIRECT, as writable as that.
Result<std::unique_ptr<ImageFile>> open_image_file(int fd);

}  // namespace tsvmm
