#include "sys/thread.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <optional>

namespace tsvmm {
namespace {

TEST(ThreadTest, BearsItsNameCutToWhatTheKernelTakes) {
  std::array<char, 16> name{};
  {
    const auto thread =
        Thread::start({"_disk0_q0_and_more"}, [&] { pthread_getname_np(pthread_self(), name.data(), name.size()); });
    ASSERT_TRUE(thread);
  }
  EXPECT_STREQ(name.data(), "_disk0_q0_and_m");
}

TEST(ThreadTest, TakesNoSignalOfTheProcessButItsOwn) {
  sigset_t blocked;
  {
    const auto thread =
        Thread::start({"signals", {}, SIGRTMIN + 1}, [&] { pthread_sigmask(SIG_BLOCK, nullptr, &blocked); });
    ASSERT_TRUE(thread);
  }
  EXPECT_TRUE(sigismember(&blocked, SIGINT));
  EXPECT_TRUE(sigismember(&blocked, SIGTERM));
  EXPECT_FALSE(sigismember(&blocked, SIGRTMIN + 1));
  EXPECT_FALSE(sigismember(&blocked, SIGSEGV));
}

TEST(ThreadTest, RunsWhereItMayAndFailsWhereItCannot) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  unsigned first = 0;
  while (!CPU_ISSET(first, &allowed)) ++first;
  cpu_set_t seen;
  {
    const auto thread = Thread::start({"pinned", {first}}, [&] { sched_getaffinity(0, sizeof(seen), &seen); });
    ASSERT_TRUE(thread);
  }
  EXPECT_EQ(CPU_COUNT(&seen), 1);
  EXPECT_TRUE(CPU_ISSET(first, &seen));
  EXPECT_EQ(Thread::start({"nowhere", {60'000}}, [] {}).failure().error, EINVAL);
  EXPECT_EQ(Thread::start({"nowhere", {UINT32_MAX}}, [] {}).failure().error, EINVAL);
}

TEST(ThreadTest, AMovedThreadIsJoinedOnce) {
  std::atomic<int> runs = 0;
  {
    auto first = Thread::start({"moved"}, [&] { ++runs; });
    ASSERT_TRUE(first);
    std::optional<Thread> second(std::move(first).value());
    second->join();
    second->join();
  }
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace tsvmm
