target_sources(core PRIVATE bus/window.cc bus/address_space.cc bus/trap_channel.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE bus/address_space_test.cc bus/posted_ring_test.cc bus/trap_channel_test.cc)
endif()
