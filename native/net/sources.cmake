target_sources(core PRIVATE net/tap.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE net/tap_test.cc)
endif()
