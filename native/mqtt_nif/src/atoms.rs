//! The atoms that cross the boundary.

rustler::atoms! {
    ok,
    error,
    nil,
    badarg,
    invalid_utf8,
    qos_not_supported,
    bad_action,
    mqtt = "$mqtt",

    // messages
    readable,
    drained,
    write,
    output,
    accepted,

    // events
    connect,
    publish,
    subscribe,
    unsubscribe,
    disconnect,
    suback,
    unsuback,
    delivered,
    session,

    // commands
    acked,
    refused_message = "refuse",
    ref_ = "ref",
    max_qos,

    // what to do after a call
    wait,
    more,
    blocked,
    decide,
    close,

    // why a connection ends
    closed,
    protocol_error,
    connect_timeout,
    keep_alive_timeout,
    send_timeout,
    send_queue_full,
    session_taken_over,
    socket_error,
    nif_panicked,
    infinity,

    // keys of maps
    protocol,
    protocol_version,
    clean_session,
    keep_alive,
    client_id,
    username,
    password,
    last_will,
    topic,
    message,
    qos,
    retain,
    dup,

    type_ = "type",
    clean_start,
    will,
    payload,
    packet_id,
    properties,
    session_present,
    reason_code,
    reason_codes,
    filters,
    no_local,
    retain_as_published,
    retain_handling,
    topic_alias,
    user_property,
    subscription_identifier,

    // packet types that are not events
    connack,
    puback,
    pubrec,
    pubrel,
    pubcomp,
    pingreq,
    pingresp,
    auth,

    // packets as maps
    incomplete,
    invalid,
    invalid_property,

    // why a message is not sent
    not_connected,

    // options
    block,
    drop_messages = "drop",

    // counters
    connections,
    descriptors,
    queued_bytes,
    flushers,
    dropped_messages,
    refused,
    size,
    queued,
    inflight,
    received,
    dropped,
    expiry_interval,
    connection,
    unconnected,
    address,
    port,
    suspended,
}
