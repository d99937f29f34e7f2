#include "sys/work_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace tsvmm {
namespace {

std::string name_of(size_t number) { return "work" + std::to_string(number); }

TEST(WorkPoolTest, WorkIsDoneSideBySideUpToTheLimit) {
  WorkPool pool(name_of, 3);
  std::latch all(3);
  std::latch done(3);
  for (int number = 0; number < 3; ++number) {
    pool.add([&] {
      all.arrive_and_wait();
      done.count_down();
    });
  }
  done.wait();
}

TEST(WorkPoolTest, NothingIsLostWhenItEnds) {
  std::atomic<int> count = 0;
  {
    WorkPool pool(name_of, 2);
    for (int number = 0; number < 1000; ++number) pool.add([&] { ++count; });
  }
  EXPECT_EQ(count, 1000);
}

TEST(WorkPoolTest, WithoutThreadsItIsDoneAtOnce) {
  WorkPool pool(name_of, 0);
  int count = 0;
  pool.add([&] { ++count; });
  EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace tsvmm
