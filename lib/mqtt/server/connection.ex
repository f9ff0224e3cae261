defmodule MQTT.Server.Connection do
  @moduledoc false
  # The process of a connection. The native side tells events, the handler's callbacks answer with
  # actions, and these go back as commands, a batch in one call. No protocol is known here.
  #
  # What the handler publishes while messages wait in the mailbox is corked: it is written when the
  # messages that were there have been handled and no more have come, or when `@max_corked` commands or `@max_corked_bytes`
  # of messages wait, or when a reply is among them.
  #
  # Until CONNECT is accepted there is no state of the handler, so calls, casts and messages are
  # kept and handled behind `init/2`.

  @behaviour :gen_server

  alias MQTT.{Native, Transport}
  alias MQTT.Server.{Events, Options}

  @max_corked 64
  @max_corked_bytes 65_536

  # How much longer a silent TLS client is listened to, whose bytes may be on their way to us.
  @last_chance 100

  @enforce_keys [:module, :state, :connection, :io, :corked]
  defstruct @enforce_keys ++
              [
                phase: :connecting,
                marked: false,
                params: %{},
                kept: [],
                timer: nil,
                last_chance: false
              ]

  # state: the arguments of init/2 before CONNECT, then the handler's state
  # io: :native, or {:ssl, socket} when the bytes are read and written here
  # params: what is known about the connection besides CONNECT
  # corked: commands to be written; marked: whether a message that ends the waiting is on its way
  # kept: what came before CONNECT, the last one first; then, what of it is not yet handled

  @rejections %{
    unacceptable_protocol: 1,
    identifier_rejected: 2,
    server_unavailable: 3,
    bad_username_or_password: 4,
    not_authorized: 5
  }

  @doc "Turns the calling process into the connection of an accepted socket."
  @spec enter_loop(module, term, Transport.t(), Options.t()) :: no_return
  def enter_loop(module, args, transport, options) do
    case Transport.open(transport, options) do
      {:ok, connection, io} -> enter_loop(module, args, connection, io, options)
      {:error, reason} -> exit({:shutdown, open_reason(reason)})
    end
  end

  # The peer was quicker, by one of its names.
  defp open_reason(reason) when reason in [:closed, :einval, :enotconn, :econnreset, :ebadf],
    do: :closed

  defp open_reason(reason), do: {:socket_error, reason}

  @doc "Starts the process of a connection that waits at a listener."
  @spec start_link(reference, {module, term}, Options.t()) :: {:ok, pid}
  def start_link(listener, handler, options) do
    {:ok, :proc_lib.spawn_link(__MODULE__, :enter_taken, [listener, handler, options])}
  end

  @doc false
  def enter_taken(listener, {module, args}, options) do
    # So that terminate/2 runs when the supervisor ends the process.
    Process.flag(:trap_exit, true)

    case Native.listener_take(listener) do
      {:ok, connection} -> enter_loop(module, args, connection, :native, options)
      {:error, :closed} -> exit({:shutdown, :closed})
    end
  end

  defp enter_loop(module, args, connection, io, options) do
    s = %__MODULE__{
      module: module,
      state: args,
      connection: connection,
      io: io,
      corked: Events.none()
    }

    send(self(), {:"$mqtt", :start})
    loop_options = [hibernate_after: options.hibernate_after]
    :gen_server.enter_loop(__MODULE__, loop_options, s)
  end

  @doc "See `MQTT.Server.info/1`."
  @spec info(GenServer.server()) :: MQTT.Server.info()
  def info(process), do: GenServer.call(process, {:"$mqtt", :info})

  @impl true
  def init(_), do: {:stop, :unexpected_call_to_init}

  @impl true
  def handle_call({:"$mqtt", :info}, _from, s) do
    {queued_bytes, dropped_messages} = Native.connection_queue(s.connection)
    {:reply, %{queued_bytes: queued_bytes, dropped_messages: dropped_messages}, s}
  end

  def handle_call(request, from, %{phase: :connected} = s) do
    s.module.handle_call(request, from, s.state) |> returned(s)
  end

  def handle_call(request, from, s), do: keep({:call, request, from}, s)

  @impl true
  def handle_cast(request, %{phase: :connected} = s) do
    s.module.handle_cast(request, s.state) |> returned(s)
  end

  def handle_cast(request, s), do: keep({:cast, request}, s)

  @impl true
  # The messages that were in the mailbox have been handled. Those who have more for this process may
  # be waiting for the scheduler: they get their turn, until nothing has come of it. When nobody
  # waits, this costs a message.
  def handle_info({:"$mqtt", {:cork, before}}, %{corked: {_, count, _, _}} = s)
      when count > before do
    :erlang.yield()
    {:noreply, mark(count, s)}
  end

  def handle_info({:"$mqtt", {:cork, _before}}, s), do: flush(%{s | marked: false})
  def handle_info({:"$mqtt", :start}, s), do: s |> describe() |> read() |> and_then(&check_time/1)
  def handle_info({:"$mqtt", :check_time}, s), do: check_time(s)
  def handle_info({:"$mqtt", :send_timeout}, s), do: {:stop, {:shutdown, :send_timeout}, s}
  def handle_info({:"$mqtt", _readable_or_more_or_drained}, s), do: read(s)
  def handle_info({:ssl, socket, data}, %{io: {:ssl, socket}} = s), do: feed(data, s)

  def handle_info({:ssl_closed, socket}, %{io: {:ssl, socket}} = s),
    do: {:stop, {:shutdown, :closed}, s}

  def handle_info({:ssl_error, socket, reason}, %{io: {:ssl, socket}} = s),
    do: {:stop, {:shutdown, {:socket_error, reason}}, s}

  def handle_info(message, %{phase: :connected} = s) do
    s.module.handle_info(message, s.state) |> returned(s)
  end

  def handle_info(message, s), do: keep({:info, message}, s)

  # One kept message after the other, each with the state that the one before it left.
  @impl true
  def handle_continue(:kept, %{kept: []} = s), do: next(s, :more)

  def handle_continue(:kept, %{kept: [message | kept]} = s) do
    s = %{s | kept: kept}

    result =
      case message do
        {:call, request, from} -> handle_call(request, from, s)
        {:cast, request} -> handle_cast(request, s)
        {:info, message} -> handle_info(message, s)
      end

    and_then(result, &{:noreply, &1, {:continue, :kept}})
  end

  @impl true
  def code_change(old_vsn, %{phase: :connected} = s, extra) do
    with {:ok, state} <- s.module.code_change(old_vsn, s.state, extra) do
      {:ok, %{s | state: state}}
    end
  end

  def code_change(_old_vsn, s, _extra), do: {:ok, s}

  @impl true
  def terminate(reason, s) do
    # An error here is of no more use.
    _ = flush(s)
    if s.phase == :connected, do: s.module.terminate(reason, s.state)
  after
    Native.connection_close(s.connection, linger?(reason))
    with {:ssl, socket} <- s.io, do: :ssl.close(socket)
  end

  # Whether the peer may still be there to read what was sent last.
  defp linger?({:shutdown, reason})
       when reason in [:closed, :keep_alive_timeout, :send_timeout, :send_queue_full],
       do: false

  defp linger?(_reason), do: true

  ## In

  defp read(%{io: :native} = s), do: Native.connection_receive(s.connection) |> received(s)
  defp read(s), do: feed("", s)

  defp feed(data, s), do: Native.connection_feed(s.connection, data) |> received(s)

  defp received({[], next}, s), do: s |> write_ssl() |> and_then(&next(&1, next))

  defp received({[{:connect, params}], :decide}, s), do: connect(params, s)

  defp received({events, next}, s) do
    case Events.handle(events, s.module, s.state, s.corked) do
      {:ok, state, commands} ->
        %{s | state: state, corked: commands} |> flush() |> and_then(&next(&1, next))

      {:stop, reason, state, commands} ->
        {:stop, reason, %{s | state: state, corked: commands}}
    end
  end

  defp next(%{io: {:ssl, socket}} = s, :wait) do
    case Transport.SSL.activate(socket) do
      :ok -> {:noreply, s}
      {:error, _} -> {:stop, {:shutdown, :closed}, s}
    end
  end

  defp next(s, :wait), do: {:noreply, s}
  defp next(s, :blocked), do: {:noreply, s}
  defp next(s, {:close, reason}), do: {:stop, {:shutdown, reason}, s}

  defp next(s, :more) do
    send(self(), {:"$mqtt", :more})
    {:noreply, s}
  end

  ## CONNECT

  defp connect(params, s) do
    case s.module.init(s.state, Map.merge(params, s.params)) do
      {:ok, state} -> accept(state, [], s)
      {:ok, state, actions} -> accept(state, actions, s)
      {:stop, reason} -> reject(reason, s)
      other -> {:stop, {:bad_return_value, other}, s}
    end
  end

  defp accept(state, actions, s) do
    kept = Enum.reverse(s.kept)
    s = %{s | state: state, phase: :connected, params: nil, kept: kept}

    Native.connection_accept(s.connection, false)
    |> written(s)
    |> and_then(&act(actions, &1))
    |> and_then(&flush/1)
    |> and_then(&check_time/1)
    |> and_then(&{:noreply, &1, {:continue, :kept}})
  end

  defp reject(reason, s) do
    case @rejections do
      %{^reason => code} -> reject_with(code, s)
      _ when is_integer(reason) and reason in 1..255 -> reject_with(reason, s)
      # No code says it, so nothing does [MQTT-3.2.2-6].
      _ -> {:stop, reason, s}
    end
  end

  defp reject_with(code, s) do
    Native.connection_reject(s.connection, code)
    |> written(s)
    |> and_then(&{:stop, :normal, &1})
  end

  defp keep(message, s), do: {:noreply, %{s | kept: [message | s.kept]}}

  # What is told to init/2 besides CONNECT.
  defp describe(%{io: :native} = s) do
    {peer, local} = Native.connection_addresses(s.connection)
    %{s | params: %{transport: :tcp, peer: peer, local: local}}
  end

  defp describe(%{io: {:ssl, socket}} = s) do
    params = %{
      transport: :ssl,
      peer: address(:ssl.peername(socket)),
      local: address(:ssl.sockname(socket))
    }

    case :ssl.peercert(socket) do
      {:ok, certificate} -> %{s | params: Map.put(params, :peer_certificate, certificate)}
      {:error, _} -> %{s | params: params}
    end
  end

  defp address({:ok, address}), do: address
  defp address({:error, _}), do: nil

  ## Out

  defp returned({:ok, state}, s), do: {:noreply, %{s | state: state}}
  defp returned({:ok, state, actions}, s), do: act(actions, %{s | state: state})
  defp returned({:stop, reason}, s), do: {:stop, reason, s}
  defp returned(other, s), do: {:stop, {:bad_return_value, other}, s}

  defp act([], s), do: {:noreply, s}

  defp act(actions, s) do
    case Events.add(actions, s.corked) do
      {:ok, {_, count, bytes, replies?} = corked} ->
        s = %{s | corked: corked}

        if replies? or count >= @max_corked or bytes >= @max_corked_bytes do
          flush(s)
        else
          {:noreply, if(s.marked, do: s, else: mark(0, s))}
        end

      {:error, reason, corked} ->
        {:stop, reason, %{s | corked: corked}}
    end
  end

  # Behind the messages that are in the mailbox now.
  defp mark(count, s) do
    send(self(), {:"$mqtt", {:cork, count}})
    %{s | marked: true}
  end

  defp flush(%{corked: {[], _, _, _}} = s), do: write_ssl(s)

  defp flush(%{corked: {commands, _, _, replies?}} = s) do
    s = %{s | corked: Events.none()}
    commands = Enum.reverse(commands)
    if replies?, do: write_in_turn(commands, s), else: write(commands, s)
  end

  defp write(commands, s, again \\ false) do
    Native.connection_send(s.connection, commands, again) |> written(s)
  end

  # What was published before a reply is written before it.
  defp write_in_turn(commands, s) do
    case Enum.split_while(commands, &(not match?({:reply, _, _}, &1))) do
      {[], [{:reply, from, reply} | rest]} ->
        :gen_server.reply(from, reply)
        write_in_turn(rest, s)

      {[], []} ->
        {:noreply, s}

      {commands, rest} ->
        commands |> write(s) |> and_then(&write_in_turn(rest, &1))
    end
  end

  defp written(:ok, s), do: write_ssl(s)
  # So many that one call did not do.
  defp written({:more, commands}, s), do: s |> write_ssl() |> and_then(&write(commands, &1, true))
  defp written({:close, reason}, s), do: {:stop, {:shutdown, reason}, s}

  defp written({:error, {:bad_action, action, reason}}, s) do
    {:stop, Events.bad_action(action, String.replace(to_string(reason), "_", " ")), s}
  end

  defp write_ssl(%{io: {:ssl, socket}} = s) do
    case Native.connection_take_output(s.connection) do
      "" -> {:noreply, s}
      output -> socket |> :ssl.send(output) |> sent(s)
    end
  end

  defp write_ssl(s), do: {:noreply, s}

  defp sent(:ok, s), do: {:noreply, s}
  defp sent({:error, :timeout}, s), do: {:stop, {:shutdown, :send_timeout}, s}
  # What the peer sent before it went may still come, and its end behind it.
  defp sent({:error, _reason}, s), do: {:noreply, s}

  ## Time

  # One timer, lazily: it looks when the last packet came, instead of being set anew by each.
  defp check_time(s) do
    _ = s.timer && Process.cancel_timer(s.timer)

    case Native.connection_check_time(s.connection) do
      :infinity ->
        {:noreply, %{s | timer: nil, last_chance: false}}

      {:close, _reason} when s.io != :native and not s.last_chance ->
        {:noreply, %{check_time_after(@last_chance, s) | last_chance: true}}

      {:close, reason} ->
        {:stop, {:shutdown, reason}, s}

      milliseconds ->
        {:noreply, %{check_time_after(milliseconds, s) | last_chance: false}}
    end
  end

  defp check_time_after(milliseconds, s) do
    %{s | timer: Process.send_after(self(), {:"$mqtt", :check_time}, milliseconds)}
  end

  defp and_then({:noreply, s}, continue), do: continue.(s)
  defp and_then(stop, _continue), do: stop
end
