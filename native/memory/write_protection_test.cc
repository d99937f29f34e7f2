#include "memory/write_protection.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>

#include "memory/testing/image_fixture.h"
#include "memory/testing/unseen_write.h"
#include "sys/thread.h"

namespace tsvmm::testing {
namespace {

using Backing = MappingOptions::Backing;

constexpr MappingOptions kShared{.backing = Backing::kMemfd, .shared = true};

class WriteProtectionTest : public ::testing::TestWithParam<MappingOptions> {
 protected:
  void SetUp() override { protection_.emplace(WriteProtection::prepare(space_).value()); }
  bool is_held(uint64_t page) const {
    return (protection_->held(page / kSpanPages).value()[page % kSpanPages / kWordBits] >> (page % kWordBits) & 1) != 0;
  }
  void await_fault() const {
    pollfd ready{protection_->fd(), POLLIN, 0};
    ASSERT_EQ(poll(&ready, 1, -1), 1);
  }

  Ram ram_{GetParam()};
  ImageSpace space_{ram_.memory().map()};
  std::optional<WriteProtection> protection_;
};
INSTANTIATE_TEST_SUITE_P(Kinds, WriteProtectionTest, ::testing::Values(MappingOptions{}, kShared));

TEST_P(WriteProtectionTest, WhatIsThereIsHeldAndCanBeRead) {
  std::mt19937_64 random(1);
  for (uint64_t page = 0; page < kRamPages; page += 3) ram_.fill(page, random);
  const auto before = ram_.contents()[30 * kPageBytes];
  ASSERT_TRUE(protection_->protect(0, 2 * kSpanPages));
  for (uint64_t page = 0; page < kRamPages; page += 3) EXPECT_EQ(is_held(page), page < 2 * kSpanPages) << page;
  EXPECT_EQ(ram_.page(30)[0], before);
  EXPECT_FALSE(protection_->awaited());
  ram_.fill(2 * kSpanPages, random);
  ASSERT_TRUE(protection_->lift(0, 40));
  EXPECT_FALSE(is_held(39));
  EXPECT_TRUE(is_held(42));
  ram_.fill(39, random);
}

TEST_P(WriteProtectionTest, WhoWritesWaitsUntilItIsLifted) {
  for (const bool is_all : {false, true}) {
    const uint64_t page = is_all ? kLowPages : kLowPages - 1;
    ram_.clear(page);
    ASSERT_TRUE(protection_->protect(kLowPages - 2, 4));
    std::atomic<bool> is_written = false;
    auto thread = Thread::start({"writer"}, [&] {
      unseen_write(ram_.page(page), std::byte{7});
      is_written = true;
    });
    ASSERT_TRUE(thread);
    await_fault();
    EXPECT_EQ(protection_->awaited(), page);
    EXPECT_FALSE(protection_->awaited());
    EXPECT_FALSE(is_written);
    EXPECT_EQ(ram_.page(page)[0], std::byte{0});
    if (is_all) {
      protection_->lift_all();
    } else {
      ASSERT_TRUE(protection_->lift(kLowPages - 2, 4));
    }
    thread.value().join();
    EXPECT_TRUE(is_written);
  }
}

TEST_P(WriteProtectionTest, WhatWasNotThereIsNotHeld) {
  ASSERT_TRUE(protection_->protect(0, kRamPages));
  // Shared memory has no such pages: it is held whether it is there or not.
  EXPECT_EQ(is_held(5), GetParam().shared);
  if (GetParam().shared) {
    ASSERT_TRUE(protection_->lift(5, 1));
  }
  ram_.fill_last_byte(5);
  EXPECT_FALSE(is_held(5));
}

TEST_P(WriteProtectionTest, OnlyOneCanHaveTheMemory) {
  EXPECT_EQ(WriteProtection::prepare(space_).failure().error, EBUSY);
  protection_->lift_all();
  EXPECT_TRUE(WriteProtection::prepare(space_));
}

TEST(WriteProtectionKindTest, MemoryThatCannotBeProtectedPageByPageIsRefused) {
  TemporaryFile file;
  ASSERT_EQ(ftruncate(file.fd(), kRamPages * kPageBytes), 0);
  const std::vector<MappingOptions> kinds = {
      {.backing = Backing::kFile, .path = "/proc/self/fd/" + std::to_string(file.fd())},
      {.backing = Backing::kMemfd},
      {.shared = true},
      {.mergeable = true},
  };
  for (const auto& kind : kinds) {
    Ram ram(kind);
    EXPECT_EQ(WriteProtection::prepare(ImageSpace(ram.memory().map())).failure().error, ENOTSUP);
  }
  // Supplied by a pager: what nobody touched is not zero.
  Ram ram;
  ram.low().set_contents(std::make_shared<const PageBitmap>(kLowPages));
  EXPECT_EQ(WriteProtection::prepare(ImageSpace(ram.memory().map())).failure().error, ENOTSUP);
}

}  // namespace
}  // namespace tsvmm::testing
