// What is left of a qcow2 image when its writer, or the host, is gone in the midst of it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>
#include <thread>

#include "disk/qcow2/image.h"
#include "disk/testing/image_check.h"
#include "disk/testing/qemu_img.h"

namespace tsvmm::qcow2 {
namespace {

constexpr uint64_t kDiskBytes = 16ull << 20;
constexpr uint64_t kBlock = 4096;

std::string size_text() { return " " + std::to_string(kDiskBytes); }

// Writes its own blocks, each with its number in every word, at random, and sometimes clears them.
[[noreturn]] void write_for_ever(Image& image, uint64_t thread, uint64_t threads) {
  std::mt19937_64 random(thread);
  std::vector<uint64_t> words(kBlock / sizeof(uint64_t));
  for (;;) {
    const auto block = random() % (kDiskBytes / kBlock / threads) * threads + thread;
    if (random() % 64 == 0) image.flush();
    if (random() % 16 == 0) {
      image.write_zeroes(block * kBlock, kBlock, true);
      continue;
    }
    if (random() % 256 == 0) image.discard(block * kBlock / (1 << 20) * (1 << 20), 1 << 20);
    std::ranges::fill(words, block + 1);
    const iovec piece{words.data(), kBlock};
    image.write(block * kBlock, {&piece, 1});
  }
}

// Every block is as one write or none left it.
void expect_whole_blocks(const std::string& content) {
  for (uint64_t block = 0; block < content.size() / kBlock; ++block) {
    std::vector<uint64_t> words(kBlock / sizeof(uint64_t));
    std::memcpy(words.data(), &content[block * kBlock], kBlock);
    const auto first = words[0];
    ASSERT_TRUE(first == 0 || first == block + 1) << block << ": " << first;
    ASSERT_TRUE(std::ranges::all_of(words, [&](uint64_t word) { return word == first; })) << block;
  }
}

class Qcow2KillTest : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(All, Qcow2KillTest,
                         testing::Values("compat=1.1", "cluster_size=4k", "cluster_size=512,refcount_bits=2"));

TEST_P(Qcow2KillTest, AWriterThatIsKilledLeavesASoundImage) {
  const Folder folder;
  const auto path = folder.path("disk.qcow2");
  std::mt19937_64 random(1);
  make_with_qemu_img("create -q -f qcow2 -o " + std::string(GetParam()) + " " + path + size_text());
  for (int round = 0; round < 5; ++round) {
    const auto child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
      auto image = Image::open(fd.get(), {});
      if (!image) _exit(1);
      std::thread other([&] { write_for_ever(*image.value(), 1, 2); });
      write_for_ever(*image.value(), 0, 2);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 200));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it could not begin";
    // Blocks of 4 KiB are written in several calls where clusters are smaller.
    EXPECT_EQ(damage_of(path, Leaks::kAllowed), "") << round;
    make_with_qemu_img("convert -f qcow2 -O raw " + path + " " + folder.path("raw"));
    if (std::string(GetParam()).find("=512") == std::string::npos) expect_whole_blocks(read_file(folder.path("raw")));
  }
}

// A file whose host loses power: of what was written since the last sync any part may be there.
class LossyFile final : public ImageFile {
 public:
  LossyFile(std::unique_ptr<ImageFile> file, std::string content)
      : file_(std::move(file)), stable_(std::move(content)) {}

  uint64_t size() const override { return file_->size(); }
  bool is_block_device() const override { return false; }
  int read(uint64_t offset, std::span<std::byte> bytes) const override { return file_->read(offset, bytes); }
  int write(uint64_t offset, std::span<const std::byte> bytes) override {
    pending_.push_back({offset, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
    return file_->write(offset, bytes);
  }
  int sync() override {
    for (const auto& each : pending_) apply(stable_, each);
    pending_.clear();
    ++syncs;
    return 0;
  }
  int resize(uint64_t size) override {
    stable_.resize(size);
    return file_->resize(size);
  }
  int punch_hole(uint64_t /*offset*/, uint64_t /*length*/) override { return 0; }

  // The tables that may be left now. The data, which are not written through this, are missing.
  std::string lost(std::mt19937_64& random) const {
    auto content = stable_;
    for (const auto& each : pending_) {
      if (random() % 2 == 0) apply(content, each);
    }
    return content;
  }

  uint64_t syncs = 0;

 private:
  struct Written {
    uint64_t offset;
    std::string bytes;
  };

  static void apply(std::string& content, const Written& each) {
    content.replace(each.offset, each.bytes.size(), each.bytes);
  }

  std::unique_ptr<ImageFile> file_;
  std::string stable_;
  std::vector<Written> pending_;
};

class Qcow2PowerTest : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(All, Qcow2PowerTest,
                         testing::Values("compat=1.1", "cluster_size=4k", "cluster_size=512,refcount_bits=2",
                                         "compat=0.10,cluster_size=1k"));

TEST_P(Qcow2PowerTest, AHostThatLosesPowerLeavesASoundImage) {
  const Folder folder;
  const auto path = folder.path("disk.qcow2");
  const auto left = folder.path("left.qcow2");
  const uint64_t bytes = 2ull << 20;
  make_with_qemu_img("create -q -f qcow2 -o " + std::string(GetParam()) + " " + path + " " + std::to_string(bytes));
  ASSERT_EQ(run_program("qemu-io -f qcow2 -c 'write -P 5 0 1M' " + path).code, 0);
  make_with_qemu_img("snapshot -c one " + path);
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  auto lossy = std::make_unique<LossyFile>(open_image_file(fd.get()).value(), read_file(path));
  auto* file = lossy.get();
  auto image = Image::open(fd.get(), std::move(lossy), {}).value();
  ImageCheck check(*image, std::string(1 << 20, 5) + std::string(bytes - (1 << 20), 0), 11);
  std::mt19937_64 random(12);
  for (int step = 0; step < 240; ++step) {
    check.step();
    if (step % 6 != 0) continue;
    write_file(left, file->lost(random));
    ASSERT_EQ(damage_of(left, Leaks::kAllowed), "") << "after step " << step;
  }
  EXPECT_GT(file->syncs, 20u);
}

}  // namespace
}  // namespace tsvmm::qcow2
