#include "memory/image_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "memory/zero_page.h"
#include "sys/crc32c.h"

namespace tsvmm {

namespace {

constexpr Failure kChecksum{EBADMSG, "memory image: checksum"};
constexpr Failure kTooShort{EBADMSG, "memory image: the file is too short"};
constexpr Failure kNotZero{EBADMSG, "memory image: data where there should be none"};
constexpr Failure kFrame{EBADMSG, "memory image: compressed data"};

// Where a page of the span is among its data pages.
unsigned ordinal_in_span(const SpanMask& data, unsigned page) {
  unsigned before = 0;
  for (unsigned word = 0; word < page / kWordBits; ++word) before += static_cast<unsigned>(std::popcount(data[word]));
  const auto below = (1ull << (page % kWordBits)) - 1;
  return before + static_cast<unsigned>(std::popcount(data[page / kWordBits] & below));
}

}  // namespace

SpanBuffer::SpanBuffer() = default;
SpanBuffer::SpanBuffer(SpanBuffer&& other) noexcept = default;
SpanBuffer::~SpanBuffer() = default;
void SpanBuffer::FreeDecompressor::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

Result<std::shared_ptr<const ImageReader>> ImageReader::open(int fd, ImageIndex index) {
  UniqueFd own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.is_open()) return last_failure("fcntl");
  struct stat status {};
  if (fstat(own.get(), &status) != 0) return last_failure("fstat");
  if (!S_ISREG(status.st_mode)) return Failure{EBADMSG, "memory image: not a regular file"};
  const auto size = static_cast<uint64_t>(status.st_size);
  if (index.form == ImageForm::kImage) {
    if (size < index.pages() * kPageBytes) return kTooShort;
    if (size > index.pages() * kPageBytes) return Failure{EBADMSG, "memory image: the file is too long"};
  }
  for (const auto& frame : index.frames) {
    if (frame.offset > size || frame.bytes > size - frame.offset) return kTooShort;
  }
  return std::shared_ptr<const ImageReader>(new ImageReader(std::move(own), std::move(index)));
}

PageKind ImageReader::kind(uint64_t page) const {
  if (!index_.present.test(page)) return PageKind::kAbsent;
  return index_.data.test(page) ? PageKind::kData : PageKind::kZero;
}

Result<> ImageReader::read_page(uint64_t page, Page into) const {
  if (kind(page) != PageKind::kData) {
    std::ranges::fill(into, std::byte{0});
    return Unit{};
  }
  if (index_.form == ImageForm::kImage) {
    if (auto read = read_exactly(into, page * kPageBytes); !read) return read;
    if (!matches(page, into)) return kChecksum;
    return Unit{};
  }
  const auto span = page / kSpanPages;
  const auto pages = cached_span(span);
  if (!pages) return pages.failure();
  const auto place = ordinal_in_span(index_.data.span(span), static_cast<unsigned>(page % kSpanPages));
  std::memcpy(into.data(), pages.value()->data() + place * kPageBytes, kPageBytes);
  return Unit{};
}

Result<> ImageReader::read_span(uint64_t span, const SpanMask& wanted, SpanBuffer& buffer,
                                const std::function<void(uint64_t page, ConstPage bytes)>& take) const {
  const auto data = index_.data.span(span);
  const auto pages = wanted & data;
  const auto first = span * kSpanPages;
  if (is_empty(pages)) return Unit{};
  buffer.failed_page_ = first + next_page(pages, 0, true);
  if (index_.form == ImageForm::kZstd) {
    if (auto read = read_frame(span, buffer); !read) return read;
    for_each_page(pages, [&](unsigned page) {
      take(first + page, ConstPage(buffer.pages_.data() + ordinal_in_span(data, page) * kPageBytes, kPageBytes));
    });
    return Unit{};
  }
  buffer.pages_.resize(kSpanBytes);
  Result<> read = Unit{};
  for_each_run(pages, [&](unsigned page, unsigned run) {
    if (!read) return;
    const auto bytes = std::span(buffer.pages_).first(run * kPageBytes);
    buffer.failed_page_ = first + page;
    read = read_exactly(bytes, (first + page) * kPageBytes);
    for (unsigned index = 0; read && index < run; ++index) {
      const ConstPage one(bytes.data() + index * kPageBytes, kPageBytes);
      buffer.failed_page_ = first + page + index;
      if (!matches(first + page + index, one)) {
        read = kChecksum;
      } else {
        take(first + page + index, one);
      }
    }
  });
  return read;
}

Result<> ImageReader::verify_span(uint64_t span, SpanBuffer& buffer) const {
  const auto read = read_span(span, index_.data.span(span), buffer, [](uint64_t, ConstPage) {});
  if (!read || index_.form == ImageForm::kZstd) return read;
  return check_zeroes(span, buffer);
}

// Holes are not read.
Result<> ImageReader::check_zeroes(uint64_t span, SpanBuffer& buffer) const {
  const auto first = span * kSpanPages;
  const auto end = std::min(first + kSpanPages, pages());
  std::array<std::byte, kPageBytes> bytes;
  for (auto page = first; page < end; ++page) {
    if (index_.data.test(page)) continue;
    const auto data = lseek(fd_.get(), static_cast<off_t>(page * kPageBytes), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    // Nobody says where the holes are: all is read.
    if (data >= 0) page = std::max(page, static_cast<uint64_t>(data) / kPageBytes);
    if (page >= end) break;
    if (index_.data.test(page)) continue;
    buffer.failed_page_ = page;
    if (auto read = read_exactly(bytes, page * kPageBytes); !read) return read;
    if (!is_zero(bytes)) return kNotZero;
  }
  return Unit{};
}

Result<> ImageReader::read_exactly(std::span<std::byte> into, uint64_t offset) const {
  while (!into.empty()) {
    const auto count = pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return last_failure("pread");
    // It was cut since it was opened.
    if (count == 0) return kTooShort;
    into = into.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Unit{};
}

bool ImageReader::matches(uint64_t page, ConstPage bytes) const {
  return crc32c(bytes) == index_.checksums[index_.data_ordinal(page)];
}

// The frame's data pages, one after the other, into the buffer.
Result<> ImageReader::read_frame(uint64_t span, SpanBuffer& buffer) const {
  const auto& frame = index_.frames[index_.frame_ordinal(span)];
  const auto size = count(index_.data.span(span)) * kPageBytes;
  buffer.frame_.resize(frame.bytes);
  if (auto read = read_exactly(buffer.frame_, frame.offset); !read) return read;
  if (crc32c(buffer.frame_) != frame.checksum) return kChecksum;
  if (ZSTD_getFrameContentSize(buffer.frame_.data(), buffer.frame_.size()) != size) return kFrame;
  if (!buffer.decompressor_) {
    buffer.decompressor_.reset(ZSTD_createDCtx());
    if (!buffer.decompressor_) return Failure{ENOMEM, "decompress memory"};
  }
  buffer.pages_.resize(size);
  const auto got = ZSTD_decompressDCtx(buffer.decompressor_.get(), buffer.pages_.data(), size, buffer.frame_.data(),
                                       buffer.frame_.size());
  if (ZSTD_isError(got) != 0 || got != size) return kFrame;
  return Unit{};
}

Result<std::shared_ptr<const std::vector<std::byte>>> ImageReader::cached_span(uint64_t span) const {
  {
    std::lock_guard lock(mutex_);
    for (auto& cached : cache_) {
      if (!cached.pages || cached.span != span) continue;
      cached.last_use = ++uses_;
      return cached.pages;
    }
  }
  SpanBuffer buffer;
  if (auto read = read_frame(span, buffer); !read) return read.failure();
  auto pages = std::make_shared<const std::vector<std::byte>>(std::move(buffer.pages_));
  std::lock_guard lock(mutex_);
  auto& oldest = *std::ranges::min_element(cache_, {}, &CachedSpan::last_use);
  oldest = {span, ++uses_, pages};
  return pages;
}

}  // namespace tsvmm
