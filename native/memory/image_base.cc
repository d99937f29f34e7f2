#include "memory/image_base.h"

#include <cstring>

namespace tsvmm {

Result<SpanMask> ImageBase::same(uint64_t span, const SpanMask& wanted, const SpanMask& data, const PageOf& page_of,
                                 SpanBuffer& buffer) const {
  SpanMask same{};
  Result<> read = Unit{};
  chain_->resolve(span, [&](size_t number, const SpanMask& found) {
    const auto& layer = *chain_->layers()[number];
    const auto data_there = layer.index().data.span(span);
    same = same | (found & wanted & ~data & ~data_there);
    const auto compared = found & wanted & data & data_there;
    if (!read || is_empty(compared)) return;
    read = layer.read_span(span, compared, buffer, [&](uint64_t page, ImageReader::ConstPage bytes) {
      const auto in_span = static_cast<unsigned>(page - span * kSpanPages);
      if (std::memcmp(bytes.data(), page_of(in_span), kPageBytes) == 0) set(same, in_span);
    });
  });
  if (!read) return read.failure();
  return same;
}

}  // namespace tsvmm
