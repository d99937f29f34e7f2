// The pages of a snapshot, from the newest layer that has each.
#pragma once

#include <memory>
#include <utility>

#include "memory/guest_memory.h"
#include "memory/image_chain.h"
#include "memory/page_source.h"

namespace tsvmm {

// Every page that is read matches its checksum. Of compressed layers the last few spans are kept.
class ImagePageSource final : public PageSource {
 public:
  // EBADMSG where some page is in no layer.
  static Result<std::shared_ptr<PageSource>> open(std::shared_ptr<const ImageChain> chain);

  Result<PageKind> read(uint64_t image_page, std::span<std::byte, kImagePageSize> page) override;

 private:
  explicit ImagePageSource(std::shared_ptr<const ImageChain> chain) : chain_(std::move(chain)) {}

  const std::shared_ptr<const ImageChain> chain_;
};

// Whoever saves the memory finds from now on that the chain's pages are in it, although nobody has touched them. EINVAL
// where the memory is not as large.
Result<> show_contents(const RamMap& map, const ImageChain& chain);

}  // namespace tsvmm
