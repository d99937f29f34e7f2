// A disk in a VHDX file ([MS-VHDX]), fixed or dynamic, without a parent.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "disk/file_areas.h"
#include "disk/image_error.h"
#include "disk/mapped_image.h"
#include "disk/vhdx/layout.h"
#include "disk/vhdx/log.h"

namespace tsvmm::vhdx {

// Locks are taken in the order write_back_, metadata_, map_; map_ is never held while the host works. A block stays
// where it was put: what is discarded becomes a hole in it.
class Image final : public MappedImage {
 public:
  // Duplicates the descriptor; the size is the file's. Blocks.
  static ImageResult<std::unique_ptr<Image>> open(int fd, DiskOptions options);
  // With its tables read and written by that.
  static ImageResult<std::unique_ptr<Image>> open(int fd, std::unique_ptr<ImageFile> file, DiskOptions options);
  ~Image() override;

  uint32_t logical_sector() const { return layout_.logical_sector; }

  Extent map(uint64_t offset, uint64_t length, Use use) override;
  int discard(uint64_t offset, uint64_t length) override;
  int write_zeroes(uint64_t offset, uint64_t length, bool unmap) override;
  int flush() override { return write_back(true); }
  int settle() override;

 private:
  struct Parts {
    std::unique_ptr<ImageFile> tables_file;
    std::unique_ptr<DiskAccess> file;
    Header header;
    Layout layout;
    std::unique_ptr<FileAreas> areas;
  };
  explicit Image(Parts parts);

  Result<uint64_t> read_other(uint64_t offset, std::span<const iovec> pieces) override;
  Result<uint64_t> write_other(uint64_t offset, std::span<const iovec> pieces) override;
  std::optional<uint64_t> find(uint64_t block);
  int load(uint64_t block);
  int read_block(uint64_t start, std::vector<std::byte>& bytes);
  int judge(uint64_t entry, uint64_t place);
  int clear(uint64_t offset, uint64_t length, bool gives_back);
  int write_back(bool to_stable_storage);

  const std::unique_ptr<ImageFile> tables_file_;
  const Layout layout_;
  const std::unique_ptr<FileAreas> areas_;

  std::mutex write_back_;
  Log log_;  // under write_back_

  std::mutex metadata_;

  std::mutex map_;
  TableCache bat_;  // changed under metadata_, too
};

}  // namespace tsvmm::vhdx
