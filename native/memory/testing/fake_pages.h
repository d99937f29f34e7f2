// For tests: a machine's RAM of two ranges, and an image of it whose every word can be told from all others.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/mapping.h"
#include "memory/page_source.h"
#include "memory/userfault.h"

namespace tsvmm {

// Every seventh page is zero, and all of the second half of each 1024.
inline bool is_zero_page(uint64_t page) { return page % 7 == 3 || page % 1024 >= 512; }

inline std::array<uint64_t, kImagePageSize / 8> expected_page(uint64_t page) {
  std::array<uint64_t, kImagePageSize / 8> words{};
  for (size_t index = 0; index < words.size() && !is_zero_page(page); ++index) words[index] = (page + 1) << 16 | index;
  return words;
}

class FakePages final : public PageSource {
 public:
  Result<PageKind> read(uint64_t image_page, std::span<std::byte, kImagePageSize> page) override {
    if (before_read) before_read(image_page);
    {
      std::lock_guard lock(mutex_);
      if (bad_.contains(image_page)) return Failure{EBADMSG, "checksum"};
    }
    if (is_zero_page(image_page)) return PageKind::kZero;
    const auto words = expected_page(image_page);
    std::memcpy(page.data(), words.data(), page.size());
    return PageKind::kData;
  }

  void spoil(uint64_t page) {
    std::lock_guard lock(mutex_);
    bad_.insert(page);
  }

  // Set before anybody reads.
  std::function<void(uint64_t page)> before_read;

 private:
  std::mutex mutex_;
  std::set<uint64_t> bad_;
};

// The ranges: 3072 pages at 1 MiB, 1024 pages at 1 GiB; the halves of one mapping are used in the other order.
class FakeRam {
 public:
  static constexpr uint64_t kFirstPages = 3072;
  static constexpr uint64_t kPages = 4096;

  // False where the host has no such memory.
  bool create(MappingOptions options) {
    options.size = kPages * kImagePageSize;
    auto created = Mapping::create(options);
    if (!created) return false;
    mapping = std::move(created).value();
    GuestMemory memory;
    const auto second = (kPages - kFirstPages) * kImagePageSize;
    EXPECT_TRUE(memory.add({1 << 20, kFirstPages * kImagePageSize, mapping->host() + second, mapping}));
    EXPECT_TRUE(memory.add({1 << 30, second, mapping->host(), mapping}));
    map = memory.map();
    return true;
  }

  volatile uint64_t* words(uint64_t page) const { return reinterpret_cast<volatile uint64_t*>(at(page)); }
  std::byte* at(uint64_t page) const {
    const auto place = page < kFirstPages ? page + kPages - kFirstPages : page - kFirstPages;
    return mapping->host() + place * kImagePageSize;
  }

  bool is_as_saved(uint64_t page) const {
    return std::memcmp(at(page), expected_page(page).data(), kImagePageSize) == 0;
  }
  bool is_zero(uint64_t page) const {
    const std::array<std::byte, kImagePageSize> zeroes{};
    return std::memcmp(at(page), zeroes.data(), kImagePageSize) == 0;
  }

  std::shared_ptr<Mapping> mapping;
  std::shared_ptr<const RamMap> map;
};

inline bool is_done(std::future<bool>& future) {
  return future.wait_for(std::chrono::milliseconds(0)) == std::future_status::ready;
}

}  // namespace tsvmm
