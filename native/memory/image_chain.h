// The layers of a snapshot's memory, newest first: a page is what the newest layer that has it says.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "memory/image_reader.h"

namespace tsvmm {

// Immutable; any thread.
class ImageChain {
 public:
  using Layers = std::vector<std::shared_ptr<const ImageReader>>;

  // EINVAL for no layer, EBADMSG where they are not of the same number of pages.
  static Result<std::shared_ptr<const ImageChain>> open(Layers newest_first);

  const Layers& layers() const { return layers_; }
  uint64_t pages() const { return layers_.front()->pages(); }
  uint64_t spans() const { return layers_.front()->index().spans(); }

  // The newest layer that has the page (below pages()); nothing where none has.
  std::optional<size_t> layer_of(uint64_t page) const;
  // As that layer has it; EBADMSG where none has.
  Result<> read_page(uint64_t page, ImageReader::Page into) const;
  // Which of the pages [first, first + pages) are not zero; bit 0 is `first`. Within pages().
  PageBitmap data_pages(uint64_t first, uint64_t pages) const;
  // The first page that no layer has.
  std::optional<uint64_t> first_gap() const;

  // Calls each(layer, mask) with the pages of the span that come from each layer; returns those that none has.
  template <typename Each>
  SpanMask resolve(uint64_t span, Each&& each) const {
    auto missing = all_.span(span);
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      const auto found = missing & layers_[layer]->index().present.span(span);
      if (is_empty(found)) continue;
      each(layer, found);
      missing = missing & ~found;
    }
    return missing;
  }

 private:
  explicit ImageChain(Layers layers) : layers_(std::move(layers)), all_(PageBitmap::all(pages())) {}

  const Layers layers_;
  const PageBitmap all_;
};

}  // namespace tsvmm
