// Compresses pages for the wire, and brings them back.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "memory/page_bitmap.h"
#include "migration/frame.h"
#include "sys/result.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace tsvmm {

inline constexpr int kLowestPageLevel = -7;
inline constexpr int kHighestPageLevel = 19;

// One thread.
class PageEncoder {
 public:
  PageEncoder();
  ~PageEncoder();
  PageEncoder(const PageEncoder&) = delete;
  PageEncoder& operator=(const PageEncoder&) = delete;

  // Whole pages, at most a span of them, into `place`: how many bytes they take there. 0 where that is no less. ENOMEM.
  Result<size_t> encode(std::span<const std::byte> pages, int level, std::span<std::byte> place);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
};

// One thread.
class PageDecoder {
 public:
  PageDecoder();
  ~PageDecoder();
  PageDecoder(const PageDecoder&) = delete;
  PageDecoder& operator=(const PageDecoder&) = delete;

  // What a frame has as its contents, valid until the next call or the next frame. EBADMSG, ENOMEM.
  Result<std::span<const std::byte>> decode(const PagesFrame& frame);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
  std::vector<std::byte> pages_;
};

// What is the same in both becomes zero, and what is zero in one becomes the other. Equally long.
void xor_pages(std::span<std::byte> pages, std::span<const std::byte> others);

}  // namespace tsvmm
