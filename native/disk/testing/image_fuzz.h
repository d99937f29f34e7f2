// For tests: images with changes at random places, used as a guest would. TSVMM_FUZZ_ROUNDS and TSVMM_FUZZ_SEED say how
// many, and which.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "disk/disk_image.h"
#include "disk/testing/qemu_img.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// Values at which sizes and offsets turn over.
inline uint64_t telling_value(std::mt19937_64& random, uint64_t size) {
  switch (random() % 8) {
    case 0:
      return 0;
    case 1:
      return UINT64_MAX;
    case 2:
      return uint64_t{1} << random() % 64;
    case 3:
      return random() % size;
    case 4:
      return random() % 64;
    default:
      // As an entry of a table: somewhere in the file, with flags.
      return (random() % (size / 512) * 512) | (random() % 3) << 62 | random() % 2;
  }
}

// Mostly in what is not data: tables come first, and where something is there already.
inline void change_image(std::string& bytes, std::mt19937_64& random) {
  for (auto left = 1 + random() % 6; left != 0; --left) {
    auto place = random() % 4 == 0 ? random() % 112 : random() % bytes.size();
    for (int tries = 0; tries < 20 && bytes[place] == 0; ++tries) place = random() % bytes.size();
    const auto width = random() % 3 == 0 ? 1 : size_t{1} << random() % 4;
    place -= place % width;
    auto value = telling_value(random, bytes.size());
    for (size_t byte = width; byte-- != 0; value >>= 8) {
      if (place + byte < bytes.size()) bytes[place + byte] = static_cast<char>(value);
    }
  }
  if (random() % 20 == 0) bytes.resize(random() % bytes.size());
}

inline void use_image(DiskImage& image, std::mt19937_64& random) {
  // Of large disks the beginning and the end.
  const auto sectors = image.size() / 512;
  if (sectors == 0) return;
  std::string data(64 * 1024, 'z');
  for (int step = 0; step < 24; ++step) {
    const auto near = random() % std::min<uint64_t>(sectors, 4096);
    const auto sector = random() % 4 == 0 ? sectors - 1 - near : near;
    const auto length = (1 + random() % std::min<uint64_t>(sectors - sector, 128)) * 512;
    const iovec piece{data.data(), length};
    switch (random() % 6) {
      case 0:
        image.discard(sector * 512, length);
        break;
      case 1:
        image.write_zeroes(sector * 512, length, random() % 2 == 0);
        break;
      case 2:
        image.flush();
        break;
      case 3:
        image.read(sector * 512, {&piece, 1});
        break;
      default:
        image.write(sector * 512, {&piece, 1});
    }
  }
}

// At least.
inline constexpr uint64_t kRounds = 600;

using OpenImage = std::function<std::unique_ptr<DiskImage>(int fd)>;

// Whatever stands in an image, it is refused or used without harm: no access outside of memory, no endless loop, no
// file that grows beyond what the guest wrote and the format takes for that.
inline void fuzz_images(const Folder& folder, const std::vector<std::string>& examples, uint64_t most_growth,
                        const OpenImage& open_image) {
  const char* wanted_seconds = std::getenv("TSVMM_FUZZ_SECONDS");
  const char* wanted_seed = std::getenv("TSVMM_FUZZ_SEED");
  const uint64_t seed = wanted_seed == nullptr ? 20261130 : std::strtoull(wanted_seed, nullptr, 10);
  const std::chrono::seconds seconds(wanted_seconds == nullptr ? 0 : std::atoi(wanted_seconds));
  const auto end = std::chrono::steady_clock::now() + seconds;
  const auto path = folder.path("fuzzed");
  uint64_t opened = 0;
  uint64_t round = 0;
  for (; round < kRounds || std::chrono::steady_clock::now() < end; ++round) {
    std::mt19937_64 random(seed + round);
    auto bytes = examples[random() % examples.size()];
    change_image(bytes, random);
    write_file(path, bytes);
    const auto begun = std::chrono::steady_clock::now();
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (const auto image = open_image(fd.get())) {
      ++opened;
      use_image(*image, random);
    }
    ASSERT_LT(std::filesystem::file_size(path), bytes.size() + most_growth) << "seed " << seed << ", round " << round;
    ASSERT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20))
        << "seed " << seed << ", round " << round;
  }
  // The generator must reach both sides.
  EXPECT_GT(opened, round / 10);
  EXPECT_LT(opened, round * 19 / 20);
}

}  // namespace tsvmm
