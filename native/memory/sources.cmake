target_sources(core PRIVATE memory/guest_memory.cc memory/mapping.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE memory/guest_memory_test.cc memory/mapping_test.cc)
endif()
