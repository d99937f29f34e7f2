#include "memory/image_chain.h"

#include <gtest/gtest.h>

#include "memory/layered_mapping.h"
#include "memory/testing/image_fixture.h"

namespace tsvmm::testing {
namespace {

// A full layer and two incremental ones, of random RAM.
class ImageChainTest : public ::testing::TestWithParam<ImageForm> {
 protected:
  void SetUp() override {
    ram_.scatter(random_);
    ImageChain::Layers layers = {write_layer(ram_, files_[0], GetParam())};
    for (size_t layer = 1; layer < files_.size(); ++layer) {
      const auto dirty = change(ram_, random_, 300);
      layers.insert(layers.begin(), write_layer(ram_, files_[layer], GetParam(), &dirty));
    }
    chain_ = ImageChain::open(layers).value();
  }

  Ram mapped(MappingBudget& budget) {
    const auto map = [&](uint64_t first, uint64_t pages) {
      return map_layers(*chain_, first, {.size = pages * kPageBytes}, budget).value();
    };
    return {map(0, kLowPages), map(kLowPages, kHighPages)};
  }

  std::mt19937_64 random_{99};
  Ram ram_;
  std::array<TemporaryFile, 3> files_;
  std::shared_ptr<const ImageChain> chain_;
};
using ImageMappingTest = ImageChainTest;
INSTANTIATE_TEST_SUITE_P(Image, ImageChainTest, ::testing::Values(ImageForm::kImage, ImageForm::kZstd));
INSTANTIATE_TEST_SUITE_P(Image, ImageMappingTest, ::testing::Values(ImageForm::kImage));

TEST_P(ImageChainTest, TheNewestLayerThatHasAPageWins) {
  EXPECT_TRUE(loaded(*chain_) == ram_.contents());
  std::array<std::byte, kPageBytes> page{};
  for (uint64_t number = 0; number < kRamPages; ++number) {
    ASSERT_TRUE(chain_->read_page(number, page));
    ASSERT_EQ(std::memcmp(page.data(), ram_.page(number), kPageBytes), 0) << number;
  }
}

TEST_P(ImageChainTest, PagesThatAreNotZeroAreTold) {
  for (const auto& [first, pages] : std::initializer_list<std::pair<uint64_t, uint64_t>>{{0, kRamPages},
                                                                                         {0, kLowPages},
                                                                                         {kLowPages, kHighPages},
                                                                                         {kSpanPages, kSpanPages},
                                                                                         {1, kRamPages - 2},
                                                                                         {7, 3}}) {
    const auto data = chain_->data_pages(first, pages);
    ASSERT_EQ(data.pages(), pages);
    for (uint64_t page = 0; page < pages; ++page) {
      const auto layer = chain_->layer_of(first + page).value();
      ASSERT_EQ(data.test(page), chain_->layers()[layer]->kind(first + page) == PageKind::kData) << first + page;
    }
  }
}

TEST_P(ImageChainTest, APageInNoLayerIsAnError) {
  auto layers = chain_->layers();
  layers.pop_back();
  const auto chain = ImageChain::open(layers).value();
  Ram target;
  SpanJob job;
  const auto fault = load_image(*chain, target.memory(), 2, job);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->failure.error, EBADMSG);
  EXPECT_EQ(fault->page, chain->first_gap());
  std::array<std::byte, kPageBytes> page{};
  EXPECT_EQ(chain->read_page(*fault->page, page).failure().error, EBADMSG);
  EXPECT_FALSE(verify_image(*chain, 2, job)) << "layers can be checked on their own";
}

TEST_P(ImageChainTest, TheLayerThatIsBrokenIsNamed) {
  const auto& oldest = *chain_->layers().back();
  uint64_t page = 0;
  while (oldest.kind(page) != PageKind::kData) ++page;
  files_[0].flip(GetParam() == ImageForm::kImage ? page * kPageBytes : oldest.index().frames[0].offset, 3);
  SpanJob job;
  const auto fault = verify_image(*chain_, 2, job);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->layer, 2u);
  EXPECT_EQ(fault->page, page);
}

TEST_P(ImageChainTest, LayersAndMemoryMustBeOfOneSize) {
  GuestMemory small;
  const auto mapping = Mapping::create({.size = kPageBytes}).value();
  ASSERT_TRUE(small.add({0, kPageBytes, mapping->host(), mapping}));
  SpanJob job;
  EXPECT_EQ(load_image(*chain_, small, 1, job)->failure.error, EINVAL);
  EXPECT_EQ(load_image(*chain_, ram_.memory(), 0, job)->failure.error, EINVAL);
  EXPECT_EQ(ImageChain::open({}).failure().error, EINVAL);
  TemporaryFile file;
  const auto writer = ImageWriter::create(small, {.fd = file.fd()}).value();
  ASSERT_TRUE(writer->write(nullptr, job));
  EXPECT_EQ(ImageChain::open({chain_->layers()[0], reader_of(*writer, file)}).failure().error, EBADMSG);
}

TEST_P(ImageMappingTest, ShowsWhatLoadingCopies) {
  for (const uint64_t runs : {15'000, 40, 0}) {
    MappingBudget budget{runs};
    auto mapping = mapped(budget);
    EXPECT_TRUE(mapping.contents() == ram_.contents()) << runs;
    EXPECT_LT(budget.runs, runs + 1);
  }
}

TEST_P(ImageMappingTest, IsPrivate) {
  const auto before = files_[2].bytes();
  MappingBudget budget;
  auto first = mapped(budget);
  for (uint64_t page = 0; page < kRamPages; ++page) first.fill(page, random_);
  EXPECT_TRUE(files_[2].bytes() == before);
  EXPECT_TRUE(mapped(budget).contents() == ram_.contents());
}

TEST_P(ImageMappingTest, DiscardGivesZeroes) {
  MappingBudget budget;
  auto mapping = mapped(budget);
  mapping.fill(3, random_);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(mapping.low().discard());
    for (uint64_t page = 0; page < kLowPages; ++page) {
      ASSERT_TRUE(std::all_of(mapping.page(page), mapping.page(page) + kPageBytes,
                              [](std::byte byte) { return byte == std::byte{0}; }));
    }
    mapping.fill(3, random_);
  }
}

TEST_P(ImageMappingTest, CanBeWrittenAsTheNextImage) {
  for (const bool is_discarded : {false, true}) {
    MappingBudget budget;
    auto mapping = mapped(budget);
    change(mapping, random_, 50);
    if (is_discarded) {
      ASSERT_TRUE(mapping.low().discard());
    }
    change(mapping, random_, 50);
    TemporaryFile file;
    const auto chain = ImageChain::open({write_layer(mapping, file, ImageForm::kZstd)}).value();
    EXPECT_TRUE(loaded(*chain) == mapping.contents());
  }
}

// Reading a hole of the file would fill the host's page cache with zeroes.
TEST_P(ImageMappingTest, WritingTheNextImageReadsNoHoles) {
  MappingBudget budget;
  auto mapping = mapped(budget);
  const auto before = resident_pages(mapping.low());
  ASSERT_LT(before, kLowPages);
  TemporaryFile file;
  write_layer(mapping, file, ImageForm::kImage);
  EXPECT_LE(resident_pages(mapping.low()), before);
}

TEST_P(ImageMappingTest, WhatCannotBeMappedIsRefused) {
  MappingBudget budget;
  const auto error = [&](const ImageChain& chain, uint64_t first, MappingOptions options) {
    return map_layers(chain, first, options, budget).failure().error;
  };
  EXPECT_EQ(error(*chain_, kRamPages, {.size = kPageBytes}), EINVAL);
  EXPECT_EQ(error(*chain_, 0, {.size = (kRamPages + 1) * kPageBytes}), EINVAL);
  EXPECT_EQ(error(*chain_, UINT64_MAX, {.size = kPageBytes}), EINVAL);
  EXPECT_EQ(error(*chain_, 0, {.size = 0}), EINVAL);
  EXPECT_EQ(error(*chain_, 0, {.size = kPageBytes, .shared = true}), EINVAL);
  EXPECT_EQ(error(*ImageChain::open({chain_->layers()[0]}).value(), 0, {.size = kPageBytes}), EBADMSG);
  TemporaryFile file;
  const auto compressed = ImageChain::open({write_layer(ram_, file, ImageForm::kZstd)}).value();
  EXPECT_EQ(error(*compressed, 0, {.size = kPageBytes}), EINVAL);
}

}  // namespace
}  // namespace tsvmm::testing
