// Guest RAM in two ranges, files that are gone when the test ends, and contents that look like a guest's.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/image_chain.h"
#include "memory/image_loader.h"
#include "memory/image_space.h"
#include "memory/image_writer.h"
#include "memory/mapping.h"
#include "sys/unique_fd.h"

namespace tsvmm::testing {

class TemporaryFile {
 public:
  TemporaryFile() {
    char path[] = "/tmp/tsvmm-image-XXXXXX";
    fd_.reset(mkstemp(path));
    EXPECT_TRUE(fd_.is_open());
    unlink(path);
  }
  int fd() const { return fd_.get(); }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> bytes(static_cast<size_t>(lseek(fd(), 0, SEEK_END)));
    EXPECT_EQ(pread(fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return bytes;
  }
  void flip(uint64_t offset, unsigned bit) const {
    std::byte byte{};
    ASSERT_EQ(pread(fd(), &byte, 1, static_cast<off_t>(offset)), 1);
    byte ^= std::byte{1} << bit;
    ASSERT_EQ(pwrite(fd(), &byte, 1, static_cast<off_t>(offset)), 1);
  }

 private:
  UniqueFd fd_;
};

// Neither range is whole spans: one span has pages of both.
inline constexpr uint64_t kLowPages = 700;
inline constexpr uint64_t kHighPages = 1000;
inline constexpr uint64_t kRamPages = kLowPages + kHighPages;

class Ram {
 public:
  explicit Ram(const MappingOptions& options = {}) {
    low_ = map(options, kLowPages);
    high_ = map(options, kHighPages);
    add();
  }
  Ram(std::shared_ptr<Mapping> low, std::shared_ptr<Mapping> high) : low_(std::move(low)), high_(std::move(high)) {
    add();
  }

  GuestMemory& memory() { return memory_; }
  Mapping& low() { return *low_; }
  std::byte* page(uint64_t page) {
    return page < kLowPages ? low_->host() + page * kPageBytes : high_->host() + (page - kLowPages) * kPageBytes;
  }
  void fill(uint64_t number, std::mt19937_64& random) {
    for (uint64_t offset = 0; offset < kPageBytes; offset += sizeof(uint64_t)) {
      // Half of it compresses.
      const uint64_t word = offset < kPageBytes / 2 ? random() : number;
      std::memcpy(page(number) + offset, &word, sizeof word);
    }
  }
  // A page that is zero but for its last byte is the hardest to tell from a zero one.
  void fill_last_byte(uint64_t number) { page(number)[kPageBytes - 1] = std::byte{1}; }
  void clear(uint64_t number) { std::memset(page(number), 0, kPageBytes); }
  // Random runs of data, of zeroes that were written, and of pages that nobody touched.
  void scatter(std::mt19937_64& random) {
    for (uint64_t number = 0; number < kRamPages;) {
      const auto kind = random() % 4;
      const auto end = std::min(kRamPages, number + 1 + random() % (random() % 8 == 0 ? 300 : 8));
      for (; number < end; ++number) {
        if (kind == 0) fill(number, random);
        if (kind == 1) clear(number);
        if (kind == 2 && number % 3 == 0) fill_last_byte(number);
      }
    }
  }
  std::vector<std::byte> contents() {
    std::vector<std::byte> bytes(kRamPages * kPageBytes);
    for (uint64_t number = 0; number < kRamPages; ++number) {
      std::memcpy(bytes.data() + number * kPageBytes, page(number), kPageBytes);
    }
    return bytes;
  }

 private:
  static std::shared_ptr<Mapping> map(MappingOptions options, uint64_t pages) {
    options.size = pages * kPageBytes;
    return Mapping::create(options).value();
  }
  void add() {
    EXPECT_TRUE(memory_.add({0, kLowPages * kPageBytes, low_->host(), low_}));
    EXPECT_TRUE(memory_.add({1ull << 32, kHighPages * kPageBytes, high_->host(), high_}));
  }

  std::shared_ptr<Mapping> low_;
  std::shared_ptr<Mapping> high_;
  GuestMemory memory_;
};

inline size_t resident_pages(const Mapping& mapping) {
  std::vector<unsigned char> pages(mapping.size() / kPageBytes);
  EXPECT_EQ(mincore(mapping.host(), mapping.size(), pages.data()), 0);
  return static_cast<size_t>(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }));
}

// Changes some pages and says which.
inline PageBitmap change(Ram& ram, std::mt19937_64& random, unsigned changes) {
  PageBitmap dirty(kRamPages);
  for (unsigned index = 0; index < changes; ++index) {
    const auto number = random() % kRamPages;
    dirty.set(number);
    if (random() % 3 == 0) {
      ram.clear(number);
    } else {
      ram.fill(number, random);
    }
  }
  return dirty;
}

inline std::unique_ptr<ImageWriter> writer_of(Ram& ram, const TemporaryFile& file, ImageForm form) {
  return ImageWriter::create(ram.memory(), {.fd = file.fd(), .form = form, .level = 1, .threads = 3}).value();
}

// Through the encoded index, as a restore takes it.
inline std::shared_ptr<const ImageReader> reader_of(ImageWriter& writer, const TemporaryFile& file) {
  return ImageReader::open(file.fd(), ImageIndex::parse(writer.index().value().encode()).value()).value();
}

inline std::shared_ptr<const ImageReader> write_layer(Ram& ram, const TemporaryFile& file, ImageForm form,
                                                      const PageBitmap* present = nullptr) {
  SpanJob job;
  const auto writer = writer_of(ram, file, form);
  EXPECT_TRUE(writer->write(present, job));
  return reader_of(*writer, file);
}

inline std::vector<std::byte> loaded(const ImageChain& chain) {
  Ram ram;
  SpanJob job;
  const auto fault = load_image(chain, ram.memory(), 3, job);
  EXPECT_FALSE(fault) << fault->failure.operation;
  EXPECT_EQ(job.pages_done, job.pages_total);
  return ram.contents();
}

}  // namespace tsvmm::testing
