#include "memory/guest_memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "memory/mapping.h"

namespace tsvmm {
namespace {

constexpr uint64_t kPage = 4096;

class GuestMemoryTest : public testing::Test {
 protected:
  Result<> add(uint64_t address, uint64_t offset, uint64_t size) {
    return memory_.add({address, size, mapping_->host() + offset, mapping_});
  }
  // Offsets into the mapping and lengths of the pieces.
  std::vector<std::pair<uint64_t, uint64_t>> pieces(uint64_t address, uint64_t length) {
    std::vector<std::pair<uint64_t, uint64_t>> seen;
    all_ram_ = memory_.map()->for_each(address, length, [&](std::span<std::byte> piece) {
      seen.emplace_back(piece.data() - mapping_->host(), piece.size());
    });
    return seen;
  }

  std::shared_ptr<Mapping> mapping_ = Mapping::create({.size = 8 * kPage}).value();
  GuestMemory memory_;
  bool all_ram_ = false;
};

TEST_F(GuestMemoryTest, ARunIsAPointerAndItsEndIsNot) {
  ASSERT_TRUE(add(0x10000, 0, 2 * kPage));
  const auto map = memory_.map();
  EXPECT_EQ(map->at(0x10000, 2 * kPage), mapping_->host());
  EXPECT_EQ(map->at(0x10000 + 2 * kPage - 1, 1), mapping_->host() + 2 * kPage - 1);
  EXPECT_EQ(map->at(0x10000 + 2 * kPage, 1), nullptr);
  EXPECT_EQ(map->at(0x10000 + 1, 2 * kPage), nullptr);
  EXPECT_EQ(map->at(0xffff, 2), nullptr);
  EXPECT_EQ(map->at(0x10000, 0), nullptr);
}

TEST_F(GuestMemoryTest, OverflowIsNotRam) {
  const auto last_page = UINT64_MAX - 2 * kPage + 1;
  ASSERT_TRUE(add(last_page, 0, kPage));
  const auto map = memory_.map();
  EXPECT_NE(map->at(last_page, kPage), nullptr);
  EXPECT_EQ(map->at(last_page, UINT64_MAX), nullptr);
  EXPECT_EQ(map->at(UINT64_MAX, 2), nullptr);
  EXPECT_EQ(map->at(UINT64_MAX, UINT64_MAX), nullptr);
  EXPECT_FALSE(add(UINT64_MAX - kPage + 1, kPage, 2 * kPage)) << "an end beyond the address space";
}

TEST_F(GuestMemoryTest, NeighboursAreOneRunOnlyWhereTheirMemoryIs) {
  ASSERT_TRUE(add(0, 0, kPage));
  ASSERT_TRUE(add(kPage, kPage, kPage));
  ASSERT_TRUE(add(2 * kPage, 4 * kPage, kPage));
  const auto map = memory_.map();
  EXPECT_EQ(map->at(10, 2 * kPage - 10), mapping_->host() + 10);
  EXPECT_EQ(map->at(kPage, kPage + 1), nullptr);
}

TEST_F(GuestMemoryTest, PiecesComeInOrderOrNotAtAll) {
  ASSERT_TRUE(add(2 * kPage, 4 * kPage, kPage));
  ASSERT_TRUE(add(kPage, 0, kPage));
  const auto expected = std::vector<std::pair<uint64_t, uint64_t>>{{kPage - 1, 1}, {4 * kPage, 2}};
  EXPECT_EQ(pieces(2 * kPage - 1, 3), expected);
  EXPECT_TRUE(all_ram_);
  EXPECT_TRUE(pieces(2 * kPage - 1, kPage + 2).empty()) << "the last byte is not RAM";
  EXPECT_FALSE(all_ram_);
  EXPECT_TRUE(pieces(0, kPage + 1).empty()) << "the first byte is not RAM";
  EXPECT_TRUE(pieces(kPage, 0).empty());
}

TEST_F(GuestMemoryTest, WhatCannotBeIsRefused) {
  ASSERT_TRUE(add(2 * kPage, 0, 2 * kPage));
  EXPECT_EQ(add(3 * kPage, 4 * kPage, kPage).failure().error, EEXIST);
  EXPECT_EQ(add(kPage, 4 * kPage, 2 * kPage).failure().error, EEXIST);
  EXPECT_TRUE(add(kPage, 4 * kPage, kPage)) << "touching is not overlapping";
  EXPECT_EQ(add(0x10000, 0, 0).failure().error, EINVAL);
  EXPECT_EQ(add(0x10001, 0, kPage).failure().error, EINVAL);
  EXPECT_EQ(add(0x10000, 1, kPage).failure().error, EINVAL);
  EXPECT_EQ(add(0x10000, 8 * kPage, kPage).failure().error, EINVAL);
  EXPECT_EQ(add(0x10000, 7 * kPage, 2 * kPage).failure().error, EINVAL);
  EXPECT_EQ(memory_.remove(3 * kPage).failure().error, ENOENT);
}

TEST_F(GuestMemoryTest, AnOldPictureKeepsWhatWasRemoved) {
  ASSERT_TRUE(add(0, 0, kPage));
  const auto before = memory_.map();
  std::weak_ptr<Mapping> mapping = mapping_;
  mapping_->host()[0] = std::byte{3};
  ASSERT_TRUE(memory_.remove(0));
  mapping_.reset();
  EXPECT_EQ(memory_.map()->at(0, 1), nullptr);
  EXPECT_EQ(*before->at(0, 1), std::byte{3});
  EXPECT_FALSE(mapping.expired());
}

}  // namespace
}  // namespace tsvmm
