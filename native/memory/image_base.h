// What an incremental layer leaves out: pages that are as the layers below have them.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "memory/image_chain.h"
#include "memory/page_bitmap.h"
#include "sys/result.h"

namespace tsvmm {

// Any thread.
class ImageBase {
 public:
  // A page of the span that is not zero, as it is now.
  using PageOf = std::function<const std::byte*(unsigned page)>;

  explicit ImageBase(std::shared_ptr<const ImageChain> chain) : chain_(std::move(chain)) {}

  // Those of `wanted` that are the same in the chain; `data` says which of them are not zero now. EBADMSG where the
  // chain has other bytes than were written into it: what is damaged there must not be relied on.
  Result<SpanMask> same(uint64_t span, const SpanMask& wanted, const SpanMask& data, const PageOf& page_of,
                        SpanBuffer& buffer) const;

 private:
  std::shared_ptr<const ImageChain> chain_;
};

}  // namespace tsvmm
