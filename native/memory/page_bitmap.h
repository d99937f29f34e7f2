// Sets of pages of guest RAM. Everything about memory images counts in image space: the RAM ranges one after the other,
// ascending, page n at byte n * 4096. A span is what one thread works on at a time.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tsvmm {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr unsigned kSpanPages = 256;
inline constexpr uint64_t kSpanBytes = kSpanPages * kPageBytes;
inline constexpr unsigned kWordBits = 64;
inline constexpr unsigned kSpanWords = kSpanPages / kWordBits;

// The pages of one span.
using SpanMask = std::array<uint64_t, kSpanWords>;

inline SpanMask operator&(SpanMask left, const SpanMask& right) {
  for (unsigned word = 0; word < kSpanWords; ++word) left[word] &= right[word];
  return left;
}
inline SpanMask operator|(SpanMask left, const SpanMask& right) {
  for (unsigned word = 0; word < kSpanWords; ++word) left[word] |= right[word];
  return left;
}
inline SpanMask operator~(SpanMask mask) {
  for (auto& word : mask) word = ~word;
  return mask;
}
inline bool is_empty(const SpanMask& mask) {
  return std::ranges::all_of(mask, [](uint64_t word) { return word == 0; });
}
inline unsigned count(const SpanMask& mask) {
  unsigned bits = 0;
  for (const auto word : mask) bits += static_cast<unsigned>(std::popcount(word));
  return bits;
}
inline void set(SpanMask& mask, unsigned page) { mask[page / kWordBits] |= 1ull << (page % kWordBits); }

// The first page from `from` on that is in the mask, or that is not; kSpanPages for none.
inline unsigned next_page(const SpanMask& mask, unsigned from, bool is_in) {
  for (unsigned word = from / kWordBits; word < kSpanWords; ++word) {
    auto bits = is_in ? mask[word] : ~mask[word];
    if (word == from / kWordBits) bits &= ~0ull << (from % kWordBits);
    if (bits != 0) return word * kWordBits + static_cast<unsigned>(std::countr_zero(bits));
  }
  return kSpanPages;
}

// Calls each(first, count) for every run of neighbouring pages.
template <typename Each>
void for_each_run(const SpanMask& mask, Each&& each) {
  for (auto first = next_page(mask, 0, true); first < kSpanPages;) {
    const auto end = next_page(mask, first, false);
    each(first, end - first);
    first = next_page(mask, end, true);
  }
}

template <typename Each>
void for_each_page(const SpanMask& mask, Each&& each) {
  for (unsigned word = 0; word < kSpanWords; ++word) {
    for (auto bits = mask[word]; bits != 0; bits &= bits - 1) {
      each(word * kWordBits + static_cast<unsigned>(std::countr_zero(bits)));
    }
  }
}

class PageBitmap {
 public:
  PageBitmap() = default;
  explicit PageBitmap(uint64_t pages) : pages_(pages), words_(span_count(pages) * kSpanWords) {}
  static PageBitmap all(uint64_t pages) {
    PageBitmap bitmap(pages);
    std::ranges::fill(bitmap.words_, ~0ull);
    bitmap.clear_tail();
    return bitmap;
  }

  static uint64_t span_count(uint64_t pages) { return (pages + kSpanPages - 1) / kSpanPages; }
  // In the serialized form, which ends with the last word that has a page.
  static uint64_t word_count(uint64_t pages) { return (pages + kWordBits - 1) / kWordBits; }

  uint64_t pages() const { return pages_; }
  uint64_t spans() const { return words_.size() / kSpanWords; }
  bool test(uint64_t page) const { return (words_[page / kWordBits] >> (page % kWordBits) & 1) != 0; }
  void set(uint64_t page) { words_[page / kWordBits] |= 1ull << (page % kWordBits); }
  uint64_t count() const {
    uint64_t bits = 0;
    for (const auto word : words_) bits += static_cast<unsigned>(std::popcount(word));
    return bits;
  }
  SpanMask span(uint64_t index) const {
    SpanMask mask;
    std::copy_n(words_.begin() + static_cast<ptrdiff_t>(index * kSpanWords), kSpanWords, mask.begin());
    return mask;
  }
  void set_span(uint64_t index, const SpanMask& mask) {
    std::ranges::copy(mask, words_.begin() + static_cast<ptrdiff_t>(index * kSpanWords));
  }
  std::span<uint64_t> words() { return {words_.data(), word_count(pages_)}; }
  std::span<const uint64_t> words() const { return {words_.data(), word_count(pages_)}; }
  bool has_bits_beyond_end() const {
    return pages_ % kWordBits != 0 && words()[pages_ / kWordBits] >> (pages_ % kWordBits) != 0;
  }

 private:
  void clear_tail() {
    if (pages_ % kWordBits != 0) words_[pages_ / kWordBits] &= (1ull << (pages_ % kWordBits)) - 1;
    std::fill(words_.begin() + static_cast<ptrdiff_t>(word_count(pages_)), words_.end(), 0);
  }

  uint64_t pages_ = 0;
  std::vector<uint64_t> words_;  // whole spans
};

}  // namespace tsvmm
