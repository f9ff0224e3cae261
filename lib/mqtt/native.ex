defmodule MQTT.Native do
  @moduledoc false
  # The one NIF module. native/README.md says what each function takes and gives.

  @on_load :load

  @doc false
  def load do
    path = :filename.join(:code.priv_dir(:mqtt), ~c"native/mqtt_nif")

    case :erlang.load_nif(path, 0) do
      :ok ->
        :ok

      {:error, {reason, _}} when reason in [:reload, :upgrade] ->
        :logger.error(
          ~c"The native part of :mqtt stays as it is until the virtual machine restarts"
        )

        {:error, reason}

      {:error, {reason, text}} ->
        :logger.error(~c"The native part of :mqtt could not be loaded from ~ts: ~p, ~ts", [
          path,
          reason,
          text
        ])

        {:error, {reason, text}}
    end
  end

  def connection_open(_fd, _received, _options), do: :erlang.nif_error(:not_loaded)
  def connection_open_fed(_received, _options), do: :erlang.nif_error(:not_loaded)
  def connection_receive(_connection), do: :erlang.nif_error(:not_loaded)
  def connection_feed(_connection, _data), do: :erlang.nif_error(:not_loaded)

  def connection_accept(_connection, _accepted), do: :erlang.nif_error(:not_loaded)
  def connection_accept_large(_connection, _accepted), do: :erlang.nif_error(:not_loaded)
  def connection_claim(_connection, _packet_id), do: :erlang.nif_error(:not_loaded)
  def connection_offer(_connection), do: :erlang.nif_error(:not_loaded)
  def connection_new_session(_connection), do: :erlang.nif_error(:not_loaded)

  def connection_reject(_connection, _code, _exact, _properties),
    do: :erlang.nif_error(:not_loaded)

  def connection_authenticate(_connection, _code, _properties),
    do: :erlang.nif_error(:not_loaded)

  def connection_disconnect(_connection, _code, _properties), do: :erlang.nif_error(:not_loaded)
  def connection_send(_connection, _commands, _again, _few), do: :erlang.nif_error(:not_loaded)
  def connection_take_output(_connection), do: :erlang.nif_error(:not_loaded)
  def connection_check_time(_connection), do: :erlang.nif_error(:not_loaded)
  def connection_settle(_connection), do: :erlang.nif_error(:not_loaded)
  def connection_close(_connection, _linger), do: :erlang.nif_error(:not_loaded)
  def connection_addresses(_connection), do: :erlang.nif_error(:not_loaded)
  def connection_queue(_connection), do: :erlang.nif_error(:not_loaded)

  def connections_publish(_connections, _topic, _message, _options, _failed, _hold),
    do: :erlang.nif_error(:not_loaded)

  def local_new(_router, _limit), do: :erlang.nif_error(:not_loaded)
  def local_subscribe(_local, _filter, _options), do: :erlang.nif_error(:not_loaded)
  def local_unsubscribe(_local, _filter), do: :erlang.nif_error(:not_loaded)
  def local_done(_local), do: :erlang.nif_error(:not_loaded)
  def local_backlog(_local, _messages), do: :erlang.nif_error(:not_loaded)
  def local_dropped(_local), do: :erlang.nif_error(:not_loaded)
  def acl_parse(_text), do: :erlang.nif_error(:not_loaded)
  def acl_client(_acl, _client_id, _user), do: :erlang.nif_error(:not_loaded)
  def rules_may_publish(_rules, _topic), do: :erlang.nif_error(:not_loaded)
  def rules_may_subscribe(_rules, _filter), do: :erlang.nif_error(:not_loaded)

  def router_new(_strategy, _messages, _bytes), do: :erlang.nif_error(:not_loaded)

  def router_subscribe(_router, _session, _filter, _shared, _options),
    do: :erlang.nif_error(:not_loaded)

  def router_unsubscribe(_router, _session, _filter), do: :erlang.nif_error(:not_loaded)
  def router_leave(_router, _session), do: :erlang.nif_error(:not_loaded)
  def router_leave_large(_router, _session), do: :erlang.nif_error(:not_loaded)

  def router_publish(_router, _session, _topic, _message, _options),
    do: :erlang.nif_error(:not_loaded)

  def router_continue(_remaining), do: :erlang.nif_error(:not_loaded)

  def router_send_retained(_router, _connection, _filter, _options, _cursor),
    do: :erlang.nif_error(:not_loaded)

  def router_has_retained(_router, _filter, _cursor), do: :erlang.nif_error(:not_loaded)
  def router_retained(_router, _filter, _cursor), do: :erlang.nif_error(:not_loaded)
  def router_info(_router), do: :erlang.nif_error(:not_loaded)
  def router_expire(_router), do: :erlang.nif_error(:not_loaded)
  def writer_register(_number, _count), do: :erlang.nif_error(:not_loaded)
  def poller_poll, do: :erlang.nif_error(:not_loaded)
  def writers_tell, do: :erlang.nif_error(:not_loaded)
  def writer_leave(_number), do: :erlang.nif_error(:not_loaded)
  def writer_write(_number), do: :erlang.nif_error(:not_loaded)
  def session_new(_options), do: :erlang.nif_error(:not_loaded)

  def session_publish(_session, _topic, _message, _options),
    do: :erlang.nif_error(:not_loaded)

  def session_await(_session, _connection), do: :erlang.nif_error(:not_loaded)
  def session_info(_session), do: :erlang.nif_error(:not_loaded)
  def session_subscriptions(_session), do: :erlang.nif_error(:not_loaded)
  def session_clear(_session), do: :erlang.nif_error(:not_loaded)
  def session_export(_session), do: :erlang.nif_error(:not_loaded)
  def session_import(_bytes, _options), do: :erlang.nif_error(:not_loaded)
  def listener_open(_options, _connection_options), do: :erlang.nif_error(:not_loaded)
  def listener_attend(_listener), do: :erlang.nif_error(:not_loaded)
  def listener_serve(_listener), do: :erlang.nif_error(:not_loaded)
  def listener_accept(_listener), do: :erlang.nif_error(:not_loaded)
  def listener_take(_listener), do: :erlang.nif_error(:not_loaded)
  def listener_suspend(_listener), do: :erlang.nif_error(:not_loaded)
  def listener_resume(_listener), do: :erlang.nif_error(:not_loaded)
  def listener_close(_listener), do: :erlang.nif_error(:not_loaded)
  def listener_info(_listener), do: :erlang.nif_error(:not_loaded)
  def packet_decode(_data, _version), do: :erlang.nif_error(:not_loaded)
  def packet_decode_large(_data, _version), do: :erlang.nif_error(:not_loaded)
  def packet_encode_large(_packet, _version), do: :erlang.nif_error(:not_loaded)
  def packet_encode(_packet, _version), do: :erlang.nif_error(:not_loaded)
  def record_decode(_data), do: :erlang.nif_error(:not_loaded)
  def record_decode_large(_data), do: :erlang.nif_error(:not_loaded)
  def record_encode(_record), do: :erlang.nif_error(:not_loaded)
  def record_encode_large(_record), do: :erlang.nif_error(:not_loaded)
  def counters_read, do: :erlang.nif_error(:not_loaded)
end
