target_sources(core PRIVATE sys/crc32c.cc sys/event_fd.cc sys/exchange.cc sys/pty.cc sys/thread.cc sys/work_pool.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE sys/crc32c_test.cc sys/event_fd_test.cc sys/exchange_test.cc sys/pty_test.cc sys/result_test.cc sys/thread_test.cc sys/work_pool_test.cc)
endif()
