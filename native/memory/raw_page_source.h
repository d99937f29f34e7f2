// A memory image that is nothing but the bytes of the image space, holes being zeroes.
#pragma once

#include <memory>

#include "memory/page_source.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class RawPageSource final : public PageSource {
 public:
  // Duplicates `fd`; the image begins at `offset` of it.
  static Result<std::shared_ptr<PageSource>> open(int fd, uint64_t offset);

  Result<PageKind> read(uint64_t image_page, std::span<std::byte, kImagePageSize> page) override;
  Result<> read_run(uint64_t first, std::span<std::byte> bytes, std::span<PageKind> kinds) override;

 private:
  RawPageSource(UniqueFd fd, uint64_t offset) : fd_(std::move(fd)), offset_(offset) {}

  UniqueFd fd_;
  uint64_t offset_;
};

}  // namespace tsvmm
