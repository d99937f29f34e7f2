#include "migration/page_codec.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>

namespace tsvmm {

void PageEncoder::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }
void PageDecoder::Free::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

PageEncoder::PageEncoder() = default;
PageEncoder::~PageEncoder() = default;
PageDecoder::PageDecoder() = default;
PageDecoder::~PageDecoder() = default;

Result<size_t> PageEncoder::encode(std::span<const std::byte> pages, int level, std::span<std::byte> place) {
  constexpr Failure kFailed{ENOMEM, "compress memory"};
  if (!context_) {
    context_.reset(ZSTD_createCCtx());
    if (!context_) return kFailed;
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_contentSizeFlag, 0);
    // The frame around it has a better one.
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 0);
  }
  auto* context = context_.get();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  // One byte short: what is no smaller has no room.
  const auto room = std::min(place.size(), pages.size() - 1);
  const auto size = ZSTD_compress2(context, place.data(), room, pages.data(), pages.size());
  if (ZSTD_isError(size) == 0) return size;
  ZSTD_CCtx_reset(context, ZSTD_reset_session_only);
  if (ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall) return size_t{0};
  return kFailed;
}

Result<std::span<const std::byte>> PageDecoder::decode(const PagesFrame& frame) {
  if (!frame.is_compressed()) return frame.contents;
  const auto bytes = count(frame.data) * kPageBytes;
  if (!context_) {
    context_.reset(ZSTD_createDCtx());
    if (!context_) return Failure{ENOMEM, "decompress memory"};
    pages_.resize(kSpanBytes);
  }
  const auto size =
      ZSTD_decompressDCtx(context_.get(), pages_.data(), bytes, frame.contents.data(), frame.contents.size());
  if (ZSTD_isError(size) != 0 || size != bytes) return Failure{EBADMSG, "the contents of a frame cannot be read"};
  return std::span<const std::byte>(pages_).first(bytes);
}

void xor_pages(std::span<std::byte> pages, std::span<const std::byte> others) {
  for (size_t offset = 0; offset < pages.size(); offset += sizeof(uint64_t)) {
    uint64_t one;
    uint64_t other;
    std::memcpy(&one, &pages[offset], sizeof one);
    std::memcpy(&other, &others[offset], sizeof other);
    one ^= other;
    std::memcpy(&pages[offset], &one, sizeof one);
  }
}

}  // namespace tsvmm
