target_sources(core PRIVATE disk/disk_access.cc disk/probe.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE disk/probe_test.cc)
endif()
