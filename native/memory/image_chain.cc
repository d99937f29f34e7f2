#include "memory/image_chain.h"

#include <algorithm>

namespace tsvmm {

Result<std::shared_ptr<const ImageChain>> ImageChain::open(Layers newest_first) {
  if (newest_first.empty()) return Failure{EINVAL, "memory image: no layers"};
  const auto pages = newest_first.front()->pages();
  if (std::ranges::any_of(newest_first, [&](const auto& layer) { return layer->pages() != pages; })) {
    return Failure{EBADMSG, "memory image: layers of different size"};
  }
  return std::shared_ptr<const ImageChain>(new ImageChain(std::move(newest_first)));
}

std::optional<size_t> ImageChain::layer_of(uint64_t page) const {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    if (layers_[layer]->kind(page) != PageKind::kAbsent) return layer;
  }
  return {};
}

Result<> ImageChain::read_page(uint64_t page, ImageReader::Page into) const {
  const auto layer = layer_of(page);
  if (!layer) return Failure{EBADMSG, "memory image: a page is in no layer"};
  return layers_[*layer]->read_page(page, into);
}

PageBitmap ImageChain::data_pages(uint64_t first, uint64_t pages) const {
  PageBitmap data(pages);
  const auto end = first + pages;
  for (auto span = first / kSpanPages; span * kSpanPages < end; ++span) {
    SpanMask of_span{};
    resolve(span, [&](size_t layer, const SpanMask& found) {
      of_span = of_span | (found & layers_[layer]->index().data.span(span));
    });
    const auto begin = span * kSpanPages;
    if (begin >= first && begin + kSpanPages <= end && (begin - first) % kSpanPages == 0) {
      data.set_span((begin - first) / kSpanPages, of_span);
      continue;
    }
    for_each_page(of_span, [&](unsigned page) {
      if (begin + page >= first && begin + page < end) data.set(begin + page - first);
    });
  }
  return data;
}

std::optional<uint64_t> ImageChain::first_gap() const {
  for (uint64_t span = 0; span < spans(); ++span) {
    const auto missing = resolve(span, [](size_t, const SpanMask&) {});
    if (!is_empty(missing)) return span * kSpanPages + next_page(missing, 0, true);
  }
  return {};
}

}  // namespace tsvmm
