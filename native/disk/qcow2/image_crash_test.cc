// What is left of a qcow2 image when its writer, or the host, is gone in the midst of it.
#include <fcntl.h>
#include <gtest/gtest.h>

#include "disk/qcow2/image.h"
#include "disk/testing/crashes.h"
#include "disk/testing/image_check.h"
#include "disk/testing/qemu_img.h"

namespace tsvmm::qcow2 {
namespace {

class Qcow2KillTest : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(All, Qcow2KillTest,
                         testing::Values("compat=1.1", "cluster_size=4k", "cluster_size=512,refcount_bits=2"));

TEST_P(Qcow2KillTest, AWriterThatIsKilledLeavesASoundImage) {
  const Folder folder;
  const auto path = folder.path("disk.qcow2");
  make_with_qemu_img("create -q -f qcow2 -o " + std::string(GetParam()) + " " + path + crash_disk_size());
  for (uint64_t round = 0; round < 5; ++round) {
    kill_a_writer(round, [&]() -> std::unique_ptr<DiskImage> {
      const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
      auto image = Image::open(fd.get(), {});
      return image ? std::move(image).value() : nullptr;
    });
    EXPECT_EQ(damage_of(path, Leaks::kAllowed), "") << round;
    make_with_qemu_img("convert -f qcow2 -O raw " + path + " " + folder.path("raw"));
    // Blocks are written in several calls where clusters are smaller.
    if (std::string(GetParam()).find("=512") == std::string::npos) expect_whole_blocks(read_file(folder.path("raw")));
  }
}

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
