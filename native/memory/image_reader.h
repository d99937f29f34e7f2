// Reads one layer of a memory image. Nothing in the file is trusted: every byte that is handed out matches a checksum.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "memory/image_index.h"
#include "memory/page_bitmap.h"
#include "sys/result.h"
#include "sys/unique_fd.h"

struct ZSTD_DCtx_s;

namespace tsvmm {

enum class PageKind { kAbsent, kZero, kData };

// What one thread needs to read spans; empty at first. Not for several threads at once.
class SpanBuffer {
 public:
  SpanBuffer();
  SpanBuffer(SpanBuffer&& other) noexcept;
  SpanBuffer& operator=(SpanBuffer&&) = delete;
  ~SpanBuffer();

  // After a failed read: the page that could not be read (zstd: the first of its frame).
  uint64_t failed_page() const { return failed_page_; }

 private:
  friend class ImageReader;
  struct FreeDecompressor {
    void operator()(ZSTD_DCtx_s* context) const;
  };

  std::vector<std::byte> pages_;
  std::vector<std::byte> frame_;
  std::unique_ptr<ZSTD_DCtx_s, FreeDecompressor> decompressor_;
  uint64_t failed_page_ = 0;
};

// Any thread.
class ImageReader {
 public:
  using Page = std::span<std::byte, kPageBytes>;
  using ConstPage = std::span<const std::byte, kPageBytes>;

  // `fd` is duplicated. EBADMSG where the file is not as long as the index says, or no regular one.
  static Result<std::shared_ptr<const ImageReader>> open(int fd, ImageIndex index);

  const ImageIndex& index() const { return index_; }
  uint64_t pages() const { return index_.pages(); }
  int fd() const { return fd_.get(); }
  PageKind kind(uint64_t page) const;

  // A page below pages(); zeroes where it is absent or zero. EBADMSG where the file has something else than what was
  // written. In the zstd form the last few spans are kept.
  Result<> read_page(uint64_t page, Page into) const;

  // Calls take(page, bytes) for every data page of `wanted`, ascending; `bytes` is gone when it returns.
  Result<> read_span(uint64_t span, const SpanMask& wanted, SpanBuffer& buffer,
                     const std::function<void(uint64_t page, ConstPage bytes)>& take) const;
  // Reads and checks all of the span; in the image form also that what is no data page is zero in the file, as a
  // mapping shows it.
  Result<> verify_span(uint64_t span, SpanBuffer& buffer) const;

 private:
  static constexpr size_t kCachedSpans = 8;
  struct CachedSpan {
    uint64_t span = 0;
    uint64_t last_use = 0;
    std::shared_ptr<const std::vector<std::byte>> pages;
  };

  ImageReader(UniqueFd fd, ImageIndex index) : fd_(std::move(fd)), index_(std::move(index)) {}
  Result<> read_exactly(std::span<std::byte> into, uint64_t offset) const;
  bool matches(uint64_t page, ConstPage bytes) const;
  Result<> check_zeroes(uint64_t span, SpanBuffer& buffer) const;
  Result<> read_frame(uint64_t span, SpanBuffer& buffer) const;
  Result<std::shared_ptr<const std::vector<std::byte>>> cached_span(uint64_t span) const;

  const UniqueFd fd_;
  const ImageIndex index_;
  mutable std::mutex mutex_;
  mutable uint64_t uses_ = 0;
  mutable std::array<CachedSpan, kCachedSpans> cache_;
};

}  // namespace tsvmm
