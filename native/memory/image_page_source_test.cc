#include "memory/image_page_source.h"

#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "memory/page_server.h"
#include "memory/testing/image_fixture.h"
#include "memory/userfault.h"

namespace tsvmm::testing {
namespace {

class ImagePageSourceTest : public ::testing::TestWithParam<ImageForm> {
 protected:
  void SetUp() override {
    ram_.scatter(random_);
    auto oldest = write_layer(ram_, old_file_, GetParam());
    const auto dirty = change(ram_, random_, 60);
    auto newest = write_layer(ram_, new_file_, GetParam(), &dirty);
    chain_ = ImageChain::open({newest, oldest}).value();
  }
  static bool has_userfault() { return static_cast<bool>(Userfault::open()); }

  std::unique_ptr<PageServer> serve(Ram& target, std::promise<std::string>* failure = nullptr) {
    PageServerOptions options;
    options.memory = target.memory().map();
    options.source = ImagePageSource::open(chain_).value();
    options.on_failure = [failure](const std::string& reason) {
      if (failure != nullptr) failure->set_value(reason);
    };
    EXPECT_TRUE(show_contents(*options.memory, *chain_));
    return PageServer::start(std::move(options)).value();
  }

  std::mt19937_64 random_{7};
  Ram ram_;
  TemporaryFile old_file_;
  TemporaryFile new_file_;
  std::shared_ptr<const ImageChain> chain_;
};

TEST_P(ImagePageSourceTest, ReadsTheNewestOfEachPage) {
  const auto source = ImagePageSource::open(chain_).value();
  std::array<std::byte, kPageBytes> page{};
  for (uint64_t number = 0; number < kRamPages; ++number) {
    const auto kind = source->read(number, page);
    ASSERT_TRUE(kind) << kind.failure().operation;
    if (kind.value() == PageKind::kZero) page.fill(std::byte{0});
    ASSERT_EQ(std::memcmp(page.data(), ram_.page(number), kPageBytes), 0) << number;
  }
  EXPECT_EQ(source->read(kRamPages, page).failure().error, EIO);
}

TEST_P(ImagePageSourceTest, RefusesWhatIsNotWhole) {
  const auto lone = ImageChain::open({chain_->layers().front()}).value();
  EXPECT_EQ(ImagePageSource::open(lone).failure().error, EBADMSG);
  GuestMemory small;
  auto mapping = Mapping::create({.size = 4 * kPageBytes}).value();
  ASSERT_TRUE(small.add({0, 4 * kPageBytes, mapping->host(), mapping}));
  EXPECT_EQ(show_contents(*small.map(), *chain_).failure().error, EINVAL);
}

TEST_P(ImagePageSourceTest, FindsThatAPageIsNotWhatWasWritten) {
  uint64_t page = 0;
  while (chain_->layer_of(page) != 1u || chain_->layers()[1]->kind(page) != PageKind::kData) ++page;
  const auto& index = chain_->layers()[1]->index();
  const auto offset = GetParam() == ImageForm::kImage
                          ? page * kPageBytes
                          : index.frames[index.frame_ordinal(page / kSpanPages)].offset + 20;
  old_file_.flip(offset, 3);
  std::array<std::byte, kPageBytes> bytes{};
  EXPECT_EQ(ImagePageSource::open(chain_).value()->read(page, bytes).failure().error, EBADMSG);
}

// What nobody has touched is saved as the chain has it, what was touched and changed as it is, and what was given back
// as zero.
TEST_P(ImagePageSourceTest, IsSavedBeforeAllIsThere) {
  if (!has_userfault()) GTEST_SKIP() << "userfaultfd is not permitted here";
  for (const bool is_incremental : {false, true}) {
    Ram target;
    const auto server = serve(target);
    const auto expected = [&] {
      for (uint64_t page = 5; page < kRamPages; page += 97) target.fill(page, random_);
      auto bytes = ram_.contents();
      for (uint64_t page = 5; page < kRamPages; page += 97) {
        std::memcpy(bytes.data() + page * kPageBytes, target.page(page), kPageBytes);
      }
      return bytes;
    }();
    EXPECT_GT(server->counters().missing, 0u);
    TemporaryFile file;
    SpanJob job;
    ImageWriter::Options options{.fd = file.fd(), .threads = 3};
    if (is_incremental) {
      options.base = chain_;
      options.base_is_shown = true;
    }
    const auto writer = ImageWriter::create(target.memory(), options).value();
    ASSERT_TRUE(writer->write(nullptr, job));
    auto layers = ImageChain::Layers{reader_of(*writer, file)};
    if (is_incremental) layers.insert(layers.end(), chain_->layers().begin(), chain_->layers().end());
    EXPECT_TRUE(loaded(*ImageChain::open(std::move(layers)).value()) == expected);
    if (is_incremental) {
      EXPECT_LT(writer->index().value().data.count(), 60u);
      EXPECT_GT(server->counters().missing, 0u);
    }
  }
}

TEST_P(ImagePageSourceTest, GivenBackIsZeroInTheNextImage) {
  if (!has_userfault()) GTEST_SKIP() << "userfaultfd is not permitted here";
  Ram target;
  const auto server = serve(target);
  ASSERT_TRUE(target.low().discard());
  TemporaryFile file;
  const auto chain = ImageChain::open({write_layer(target, file, ImageForm::kImage)}).value();
  const auto bytes = loaded(*chain);
  const auto expected = ram_.contents();
  const auto low = static_cast<ptrdiff_t>(kLowPages * kPageBytes);
  EXPECT_TRUE(std::all_of(bytes.begin(), bytes.begin() + low, [](std::byte byte) { return byte == std::byte{0}; }));
  EXPECT_TRUE(std::equal(bytes.begin() + low, bytes.end(), expected.begin() + low));
}

INSTANTIATE_TEST_SUITE_P(Forms, ImagePageSourceTest, ::testing::Values(ImageForm::kImage, ImageForm::kZstd),
                         [](const auto& info) { return info.param == ImageForm::kImage ? "Image" : "Zstd"; });

}  // namespace
}  // namespace tsvmm::testing
