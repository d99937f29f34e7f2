// For tests: whether all that an engine changes in guest memory is marked.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

#include "virtio/testing/guest_driver.h"

namespace tsvmm {

// From its construction on, with all that the driver has written by then.
class DirtyCheck {
 public:
  explicit DirtyCheck(const GuestRam& ram, uint64_t size) : ram_(ram), before_(ram.host, ram.host + size) {
    EXPECT_TRUE(ram.memory->dirty().start().ok());
  }
  ~DirtyCheck() { ram_.memory->dirty().stop(); }
  DirtyCheck(const DirtyCheck&) = delete;
  DirtyCheck& operator=(const DirtyCheck&) = delete;

  // The guest addresses of pages that were marked since the last call.
  std::set<uint64_t> marked() const {
    std::set<uint64_t> pages;
    const auto taken = ram_.memory->dirty().take();
    EXPECT_TRUE(taken.ok());
    for (uint64_t page = 0; taken.ok() && page < taken.value().page_count(); ++page) {
      if (taken.value().has(page)) pages.insert(ram_.address + page * kPageBytes);
    }
    return pages;
  }
  // Of pages with other bytes than before.
  std::set<uint64_t> changed() const {
    std::set<uint64_t> pages;
    for (uint64_t offset = 0; offset < before_.size(); offset += kPageBytes) {
      if (std::memcmp(ram_.host + offset, before_.data() + offset, kPageBytes) != 0)
        pages.insert(ram_.address + offset);
    }
    return pages;
  }

 private:
  const GuestRam& ram_;
  std::vector<std::byte> before_;
};

}  // namespace tsvmm
