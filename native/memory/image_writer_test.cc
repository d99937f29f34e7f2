#include "memory/image_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "memory/testing/image_fixture.h"

namespace tsvmm::testing {
namespace {

using Backing = MappingOptions::Backing;

class ImageWriterTest : public ::testing::TestWithParam<ImageForm> {
 protected:
  std::mt19937_64 random_{42};
  TemporaryFile file_;
  SpanJob job_;
};
INSTANTIATE_TEST_SUITE_P(Image, ImageWriterTest, ::testing::Values(ImageForm::kImage, ImageForm::kZstd));

TEST_P(ImageWriterTest, WhatWasWrittenIsLoaded) {
  const std::vector<MappingOptions> kinds = {
      {}, {.shared = true}, {.backing = Backing::kMemfd, .shared = true}, {.backing = Backing::kMemfd}};
  for (const auto& kind : kinds) {
    Ram ram(kind);
    ram.scatter(random_);
    const auto chain = ImageChain::open({write_layer(ram, file_, GetParam())}).value();
    EXPECT_TRUE(loaded(*chain) == ram.contents());
    EXPECT_FALSE(verify_image(*chain, 2, job_));
  }
}

TEST_P(ImageWriterTest, ALaterPassReplacesAnEarlierOne) {
  Ram ram;
  ram.scatter(random_);
  const auto writer = writer_of(ram, file_, GetParam());
  ASSERT_TRUE(writer->write(nullptr, job_));
  for (int pass = 0; pass < 4; ++pass) {
    const auto dirty = change(ram, random_, 150);
    SpanJob job;
    ASSERT_TRUE(writer->write(&dirty, job));
    EXPECT_EQ(job.pages_done, dirty.count());
    EXPECT_EQ(job.pages_total, dirty.count());
  }
  const auto chain = ImageChain::open({reader_of(*writer, file_)}).value();
  EXPECT_TRUE(loaded(*chain) == ram.contents());
}

TEST_P(ImageWriterTest, PagesAreReadOneByOneToo) {
  Ram ram;
  ram.scatter(random_);
  const auto reader = write_layer(ram, file_, GetParam());
  std::array<std::byte, kPageBytes> page{};
  for (uint64_t round = 0; round < 2 * kRamPages; ++round) {
    const auto number = round % 3 == 0 ? random_() % kRamPages : round % kRamPages;
    ASSERT_TRUE(reader->read_page(number, page));
    ASSERT_EQ(std::memcmp(page.data(), ram.page(number), kPageBytes), 0) << number;
  }
}

TEST_P(ImageWriterTest, AnIncrementalLayerHasOnlyWhatWasAskedFor) {
  Ram ram;
  ram.scatter(random_);
  const auto dirty = change(ram, random_, 100);
  const auto reader = write_layer(ram, file_, GetParam(), &dirty);
  for (uint64_t page = 0; page < kRamPages; ++page) {
    ASSERT_EQ(reader->kind(page) == PageKind::kAbsent, !dirty.test(page));
  }
}

TEST_P(ImageWriterTest, EveryFlippedBitOfAPageIsFound) {
  Ram ram;
  for (uint64_t page = 0; page < kRamPages; page += 2) ram.fill(page, random_);
  const auto chain = ImageChain::open({write_layer(ram, file_, GetParam())}).value();
  const auto size = file_.bytes().size();
  for (int flip = 0; flip < 200; ++flip) {
    auto place = random_() % size;
    if (GetParam() == ImageForm::kImage) place -= place % (2 * kPageBytes) - place % kPageBytes;
    const auto bit = static_cast<unsigned>(random_() % 8);
    file_.flip(place, bit);
    SpanJob job;
    const auto fault = verify_image(*chain, 2, job);
    ASSERT_TRUE(fault) << place;
    EXPECT_EQ(fault->failure.error, EBADMSG);
    EXPECT_EQ(fault->layer, 0u);
    if (GetParam() == ImageForm::kImage) {
      EXPECT_EQ(fault->page, place / kPageBytes);
    }
    std::array<std::byte, kPageBytes> page{};
    EXPECT_EQ(chain->read_page(*fault->page, page).failure().error, EBADMSG);
    file_.flip(place, bit);
  }
  SpanJob job;
  EXPECT_FALSE(verify_image(*chain, 2, job));
}

TEST_P(ImageWriterTest, AFileOfTheWrongLengthIsRefused) {
  Ram ram;
  ram.scatter(random_);
  ram.fill(kRamPages - 1, random_);
  const auto reader = write_layer(ram, file_, GetParam());
  const auto chain = ImageChain::open({reader}).value();
  ASSERT_EQ(ftruncate(file_.fd(), lseek(file_.fd(), 0, SEEK_END) - 1), 0);
  EXPECT_EQ(ImageReader::open(file_.fd(), reader->index()).failure().error, EBADMSG);
  // Cut after it was opened.
  ASSERT_EQ(ftruncate(file_.fd(), 100), 0);
  EXPECT_EQ(verify_image(*chain, 2, job_)->failure.error, EBADMSG);
  Ram target;
  SpanJob job;
  EXPECT_EQ(load_image(*chain, target.memory(), 2, job)->failure.error, EBADMSG);
  const UniqueFd pipe(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(ImageReader::open(pipe.get(), reader->index()).failure().error, EBADMSG);
}

TEST_P(ImageWriterTest, AFullDiskIsAnErrorOfTheCall) {
  Ram ram;
  for (uint64_t page = 0; page < kRamPages; ++page) ram.fill(page, random_);
  const auto writer = writer_of(ram, file_, GetParam());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1'000'000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto written = writer->write(nullptr, job_);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.failure().error, EFBIG);
  EXPECT_STREQ(written.failure().operation, "pwrite");
  SpanJob job;
  EXPECT_TRUE(writer->write(nullptr, job)) << "another try is free to succeed";
  EXPECT_TRUE(loaded(*ImageChain::open({reader_of(*writer, file_)}).value()) == ram.contents());
}

TEST_P(ImageWriterTest, CancelledWorkEnds) {
  Ram ram;
  ram.scatter(random_);
  const auto reader = write_layer(ram, file_, GetParam());
  const auto chain = ImageChain::open({reader}).value();
  job_.is_cancelled = true;
  EXPECT_EQ(writer_of(ram, TemporaryFile(), GetParam())->write(nullptr, job_).failure().error, ECANCELED);
  EXPECT_EQ(verify_image(*chain, 2, job_)->failure.error, ECANCELED);
  EXPECT_EQ(load_image(*chain, ram.memory(), 2, job_)->failure.error, ECANCELED);
  EXPECT_EQ(job_.pages_done, 0u);
}

TEST(ImageFileTest, ZeroPagesAreHolesAlsoWhenTheyBecameZeroLater) {
  std::mt19937_64 random(1);
  TemporaryFile file;
  Ram ram;
  for (uint64_t page = 0; page < kRamPages; page += 64) ram.fill(page, random);
  const auto writer = writer_of(ram, file, ImageForm::kImage);
  SpanJob job;
  ASSERT_TRUE(writer->write(nullptr, job));
  const auto blocks = [&] {
    struct stat status {};
    EXPECT_EQ(fsync(file.fd()), 0);
    EXPECT_EQ(fstat(file.fd(), &status), 0);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  };
  EXPECT_EQ(file.bytes(), ram.contents());
  EXPECT_LT(blocks(), 2 * 27 * kPageBytes);
  for (uint64_t page = 0; page < kRamPages; page += 64) ram.clear(page);
  ASSERT_TRUE(writer->write(nullptr, job));
  EXPECT_EQ(file.bytes(), ram.contents());
  EXPECT_LT(blocks(), 4 * kPageBytes);
  EXPECT_EQ(writer->index().value().data.count(), 0u);
}

// A snapshot of a machine that uses little of its memory must not make it use all.
TEST(ImageFileTest, UntouchedMemoryIsNotTouched) {
  for (const auto& kind : {MappingOptions{}, MappingOptions{.backing = Backing::kMemfd, .shared = true}}) {
    TemporaryFile file;
    Ram ram(kind);
    ram.fill_last_byte(100);
    const auto before = resident_pages(ram.low());
    EXPECT_LT(before, kLowPages);
    write_layer(ram, file, ImageForm::kImage);
    EXPECT_EQ(resident_pages(ram.low()), before);
  }
}

TEST(ImageFileTest, WhatAPagerHasYetToSupplyIsReadAndNotTakenForZero) {
  for (const auto& kind : {MappingOptions{}, MappingOptions{.backing = Backing::kMemfd, .shared = true}}) {
    TemporaryFile file;
    Ram ram(kind);
    PageBitmap contents(kLowPages);
    contents.set(5);
    contents.set(kLowPages - 1);
    ram.low().set_contents(std::make_shared<const PageBitmap>(contents));
    write_layer(ram, file, ImageForm::kImage);
    EXPECT_GE(resident_pages(ram.low()), 2u);
    EXPECT_LT(resident_pages(ram.low()), kLowPages);
    ASSERT_TRUE(ram.low().discard());
    EXPECT_FALSE(ram.low().contents());
    write_layer(ram, file, ImageForm::kImage);
    EXPECT_EQ(resident_pages(ram.low()), 0u);
  }
}

TEST(ImageFileTest, DataWhereThereShouldBeNoneIsFound) {
  std::mt19937_64 random(5);
  TemporaryFile file;
  Ram ram;
  for (uint64_t page = 0; page < kRamPages; page += 3) ram.fill(page, random);
  const auto chain = ImageChain::open({write_layer(ram, file, ImageForm::kImage)}).value();
  for (const uint64_t page : {1ul, 2ul, 257ul, kRamPages - 1}) {
    ASSERT_NE(page % 3, 0u);
    file.flip(page * kPageBytes + 77, 1);
    SpanJob job;
    const auto fault = verify_image(*chain, 2, job);
    ASSERT_TRUE(fault) << page;
    EXPECT_EQ(fault->page, page);
    file.flip(page * kPageBytes + 77, 1);
  }
  SpanJob job;
  EXPECT_FALSE(verify_image(*chain, 2, job)) << "zeroes that were written are as good as a hole";
}

TEST(ImageFileTest, OptionsOutOfRangeAreRefused) {
  TemporaryFile file;
  Ram ram;
  GuestMemory empty;
  const auto error = [&](GuestMemory& memory, ImageWriter::Options options) {
    return ImageWriter::create(memory, options).failure().error;
  };
  EXPECT_EQ(error(empty, {.fd = file.fd()}), EINVAL);
  EXPECT_EQ(error(ram.memory(), {.fd = file.fd(), .threads = 0}), EINVAL);
  EXPECT_EQ(error(ram.memory(), {.fd = file.fd(), .level = 20}), EINVAL);
  EXPECT_EQ(error(ram.memory(), {.fd = file.fd(), .level = -8}), EINVAL);
  EXPECT_EQ(error(ram.memory(), {.fd = -1}), EBADF);
  const auto writer = writer_of(ram, file, ImageForm::kImage);
  const PageBitmap other(kRamPages - 1);
  SpanJob job;
  EXPECT_EQ(writer->write(&other, job).failure().error, EINVAL);
}

}  // namespace
}  // namespace tsvmm::testing
