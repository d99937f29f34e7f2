#include "memory/image_base.h"

#include <gtest/gtest.h>

#include "memory/layered_mapping.h"
#include "memory/testing/image_fixture.h"

namespace tsvmm::testing {
namespace {

using Forms = std::pair<ImageForm, ImageForm>;

// A full layer of random RAM, and one of what changed since, over it; the forms are of both.
class ImageBaseTest : public ::testing::TestWithParam<Forms> {
 protected:
  void SetUp() override {
    ram_.scatter(random_);
    full_ = ImageChain::open({write_layer(ram_, files_[0], GetParam().first)}).value();
  }
  std::unique_ptr<ImageWriter> writer(Ram& ram, const TemporaryFile& file, std::shared_ptr<const ImageChain> base,
                                      bool base_is_shown = false) {
    ImageWriter::Options options{.fd = file.fd(), .form = GetParam().second, .threads = 3};
    options.base = std::move(base);
    options.base_is_shown = base_is_shown;
    return ImageWriter::create(ram.memory(), options).value();
  }
  // Random pages, also some that are then as they were.
  PageBitmap touch(Ram& ram) {
    const auto changed = change(ram, random_, 200);
    for (int round = 0; round < 100; ++round) {
      const auto page = random_() % kRamPages;
      std::array<std::byte, kPageBytes> before{};
      if (changed.test(page)) continue;
      std::memcpy(before.data(), ram.page(page), kPageBytes);
      ram.fill(page, random_);
      std::memcpy(ram.page(page), before.data(), kPageBytes);
    }
    return changed;
  }
  static std::shared_ptr<const ImageChain> over(std::shared_ptr<const ImageReader> layer, const ImageChain& base) {
    auto layers = base.layers();
    layers.insert(layers.begin(), std::move(layer));
    return ImageChain::open(layers).value();
  }
  // Which pages are not as they were in `before`.
  static uint64_t differing(Ram& ram, const std::vector<std::byte>& before) {
    uint64_t pages = 0;
    for (uint64_t page = 0; page < kRamPages; ++page) {
      pages += std::memcmp(ram.page(page), before.data() + page * kPageBytes, kPageBytes) == 0 ? 0 : 1;
    }
    return pages;
  }

  std::mt19937_64 random_{7};
  Ram ram_;
  std::array<TemporaryFile, 3> files_;
  SpanJob job_;
  std::shared_ptr<const ImageChain> full_;
};
INSTANTIATE_TEST_SUITE_P(Forms, ImageBaseTest,
                         ::testing::Values(Forms{ImageForm::kImage, ImageForm::kImage},
                                           Forms{ImageForm::kImage, ImageForm::kZstd},
                                           Forms{ImageForm::kZstd, ImageForm::kImage}));

TEST_P(ImageBaseTest, OnlyWhatDiffersIsInTheLayer) {
  const auto before = ram_.contents();
  touch(ram_);
  const auto first = writer(ram_, files_[1], full_);
  ASSERT_TRUE(first->write(nullptr, job_));
  const auto layer = reader_of(*first, files_[1]);
  EXPECT_EQ(layer->index().present.count(), differing(ram_, before));
  const auto chain = over(layer, *full_);
  EXPECT_TRUE(loaded(*chain) == ram_.contents());
  EXPECT_FALSE(verify_image(*chain, 2, job_));
  // And one more, on both.
  const auto between = ram_.contents();
  touch(ram_);
  const auto second = writer(ram_, files_[2], chain);
  ASSERT_TRUE(second->write(nullptr, job_));
  const auto top = reader_of(*second, files_[2]);
  EXPECT_EQ(top->index().present.count(), differing(ram_, between));
  EXPECT_TRUE(loaded(*over(top, *chain)) == ram_.contents());
}

TEST_P(ImageBaseTest, APageThatIsInTheLayerStaysInItWhenItIsAsBeforeAgain) {
  const auto page = kRamPages / 2;
  ram_.fill(page, random_);
  full_ = ImageChain::open({write_layer(ram_, files_[0], GetParam().first)}).value();
  std::array<std::byte, kPageBytes> before{};
  std::memcpy(before.data(), ram_.page(page), kPageBytes);
  ram_.fill(page, random_);
  const auto passes = writer(ram_, files_[1], full_);
  ASSERT_TRUE(passes->write(nullptr, job_));
  std::memcpy(ram_.page(page), before.data(), kPageBytes);
  ram_.clear(page + 1);
  PageBitmap dirty(kRamPages);
  dirty.set(page);
  dirty.set(page + 1);
  SpanJob job;
  ASSERT_TRUE(passes->write(&dirty, job));
  EXPECT_TRUE(loaded(*over(reader_of(*passes, files_[1]), *full_)) == ram_.contents());
}

TEST_P(ImageBaseTest, OfAMappedBaseOnlyWhatWasWrittenIsLookedAt) {
  if (GetParam().first != ImageForm::kImage) return;
  MappingBudget budget;
  const auto map = [&](uint64_t first, uint64_t pages) {
    return map_layers(*full_, first, {.size = pages * kPageBytes}, budget).value();
  };
  Ram clone(map(0, kLowPages), map(kLowPages, kHighPages));
  // Some are read only.
  for (uint64_t page = 0; page < kRamPages; page += 5)
    static_cast<void>(*const_cast<volatile std::byte*>(clone.page(page)));
  const auto changed = change(clone, random_, 40);
  const auto layer = writer(clone, files_[1], full_, true);
  // Nothing of the base is read for the others: it could not be.
  ASSERT_TRUE(layer->write(nullptr, job_));
  const auto reader = reader_of(*layer, files_[1]);
  EXPECT_LE(reader->index().present.count(), changed.count());
  EXPECT_TRUE(loaded(*over(reader, *full_)) == clone.contents());
  // Given back, memory is no longer what the image shows.
  ASSERT_TRUE(clone.low().discard());
  const auto after = writer(clone, files_[2], full_, true);
  ASSERT_TRUE(after->write(nullptr, job_));
  EXPECT_TRUE(loaded(*over(reader_of(*after, files_[2]), *full_)) == clone.contents());
}

TEST_P(ImageBaseTest, ADamagedBaseIsNotReliedOn) {
  ram_.fill(3, random_);
  full_ = ImageChain::open({write_layer(ram_, files_[0], GetParam().first)}).value();
  files_[0].flip(GetParam().first == ImageForm::kImage ? 3 * kPageBytes + 5 : 20, 3);
  const auto layer = writer(ram_, files_[1], full_);
  const auto written = layer->write(nullptr, job_);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.failure().error, EBADMSG);
}

TEST_P(ImageBaseTest, ABaseOfOtherRamIsRefused) {
  GuestMemory smaller;
  const std::shared_ptr<Mapping> mapping = Mapping::create({.size = 10 * kPageBytes}).value();
  ASSERT_TRUE(smaller.add({0, 10 * kPageBytes, mapping->host(), mapping}));
  ImageWriter::Options options{.fd = files_[1].fd()};
  options.base = full_;
  EXPECT_EQ(ImageWriter::create(smaller, options).failure().error, EINVAL);
}

}  // namespace
}  // namespace tsvmm::testing
