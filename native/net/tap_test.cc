// Real taps, in a network namespace of their own: as root, else skipped.
#include "net/tap.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <thread>

namespace tsvmm {
namespace {

// A namespace belongs to a thread: each test has both to itself.
template <typename Body>
void in_new_network(Body&& body) {
  bool entered = false;
  std::thread([&] {
    entered = unshare(CLONE_NEWNET) == 0 && access("/dev/net/tun", R_OK | W_OK) == 0;
    if (entered) body();
  }).join();
  if (!entered) GTEST_SKIP() << "needs CAP_NET_ADMIN and /dev/net/tun";
}

// As `ip tuntap add` does it: the interface stays when the descriptor is closed.
void make_persistent(const char* name, short flags) {
  UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | flags);
  ASSERT_EQ(ioctl(fd.get(), TUNSETIFF, &request), 0);
  ASSERT_EQ(ioctl(fd.get(), TUNSETPERSIST, 1), 0);
}

TEST(TapTest, ACreatedInterfaceGoesWithItsLastDescriptor) {
  in_new_network([] {
    {
      auto tap = Tap::open("", 1);
      ASSERT_TRUE(tap.ok()) << tap.failure().operation;
      EXPECT_EQ(tap.value().name(), "vmtap0");
      EXPECT_TRUE(tap.value().is_created());
      EXPECT_NE(if_nametoindex("vmtap0"), 0u);
      int header = 0;
      EXPECT_EQ(ioctl(tap.value().queues()[0].get(), TUNGETVNETHDRSZ, &header), 0);
      EXPECT_EQ(header, 12);
      EXPECT_NE(fcntl(tap.value().queues()[0].get(), F_GETFL) & O_NONBLOCK, 0);
    }
    EXPECT_EQ(if_nametoindex("vmtap0"), 0u);
  });
}

TEST(TapTest, AnInterfaceThatWasThereStays) {
  in_new_network([] {
    make_persistent("there0", 0);
    {
      const auto tap = Tap::open("there0", 1);
      ASSERT_TRUE(tap.ok());
      EXPECT_FALSE(tap.value().is_created());
    }
    EXPECT_NE(if_nametoindex("there0"), 0u);
  });
}

TEST(TapTest, OneQueueOfAnInterfaceMadeForSeveralCanBeOpened) {
  in_new_network([] {
    make_persistent("several0", IFF_MULTI_QUEUE);
    EXPECT_TRUE(Tap::open("several0", 1).ok());
    EXPECT_TRUE(Tap::open("several0", 4).ok());
  });
}

TEST(TapTest, RefusesWhatIsInUseOrCannotBe) {
  in_new_network([] {
    const auto first = Tap::open("busy0", 1);
    ASSERT_TRUE(first.ok());
    const auto second = Tap::open("busy0", 1);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.failure().error, EBUSY);
    make_persistent("single0", 0);
    EXPECT_FALSE(Tap::open("single0", 2).ok());
    EXPECT_FALSE(Tap::open("lo", 1).ok());
    EXPECT_EQ(Tap::open("a-name-that-is-too-long", 1).failure().error, ENAMETOOLONG);
  });
}

TEST(TapTest, SetsUpTheHostsSide) {
  in_new_network([] {
    const auto opened = Tap::open("set%d", 2);
    ASSERT_TRUE(opened.ok());
    const auto& tap = opened.value();
    EXPECT_EQ(tap.queues().size(), 2u);
    EXPECT_TRUE(tap.set_ipv4(inet_addr("192.168.249.1"), inet_addr("255.255.255.0")).ok());
    const std::array<uint8_t, 6> mac{0x02, 1, 2, 3, 4, 5};
    EXPECT_TRUE(tap.set_mac(mac).ok());
    EXPECT_EQ(tap.mac().value(), mac);
    EXPECT_TRUE(tap.set_mtu(1400).ok());
    EXPECT_EQ(tap.mtu().value(), 1400u);
    EXPECT_TRUE(tap.set_up().ok());
    EXPECT_TRUE(tap.set_offloads(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6).ok());
    EXPECT_FALSE(tap.set_mtu(7).ok());
    EXPECT_FALSE(tap.set_mac({0x01, 0, 0, 0, 0, 0}).ok()) << "a group address";
  });
}

TEST(TapTest, AdoptsQueuesOfOthers) {
  in_new_network([] {
    const auto opened = Tap::open("other0", 2);
    ASSERT_TRUE(opened.ok());
    const int fds[] = {opened.value().queues()[0].get(), opened.value().queues()[1].get()};
    const auto adopted = Tap::adopt(fds);
    ASSERT_TRUE(adopted.ok());
    EXPECT_EQ(adopted.value().name(), "other0");
    EXPECT_FALSE(adopted.value().is_created());
    const int none[] = {0};
    EXPECT_FALSE(Tap::adopt(none).ok());
  });
}

}  // namespace
}  // namespace tsvmm
