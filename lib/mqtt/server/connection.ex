defmodule MQTT.Server.Connection do
  @moduledoc false
  # The process of a connection. The native side tells events, the handler's callbacks answer with
  # actions, and these go back as commands, a batch in one call. No protocol is known here.
  #
  # What the handler publishes while messages wait in the mailbox is corked: it is written when the
  # messages that were there have been handled and no more have come, or when `@max_corked` commands or `@max_corked_bytes`
  # of messages wait, or when a reply is among them. One that stays alone is written, or left to a writer while there
  # are many such (`native/mqtt_nif/src/writers.rs`).
  #
  # Until CONNECT is accepted, which may take several rounds of authentication, calls, casts and
  # messages are kept.

  @behaviour :gen_server

  alias MQTT.{Native, Reason, Session, Transport}
  alias MQTT.Server.{Accepting, Deliveries, Events, Options, Will, Writer}
  alias MQTT.Server.Events.Handler

  @max_corked 64
  @max_corked_bytes 65_536

  # For how long at most what is published to other connections is on hold, in milliseconds.
  @hold 1

  # How much longer a silent TLS client is listened to, whose bytes may be on their way to us.
  @last_chance 100

  @enforce_keys [:module, :handler, :state, :connection, :io, :corked]
  defstruct @enforce_keys ++
              [
                phase: :connecting,
                marked: false,
                params: %{},
                assigned_id: nil,
                will: nil,
                refs: %{},
                kept: [],
                timer: nil,
                last_chance: false,
                left: false,
                asks: false
              ]

  # state: the arguments of init/2 before CONNECT, then the handler's state
  # io: :native, or {:ssl, socket} when the bytes are read and written here
  # phase: :connecting, then maybe :authenticating, then :connected
  # params: what is known about the connection besides CONNECT, then with it, until it is accepted
  # assigned_id: the client identifier, if we chose it
  # will: what is to be published when the connection ends, if that is ours to see to
  # refs: what the numbers stand for that messages to the client have, see `MQTT.Server.Deliveries`
  # left: whether the client has sent DISCONNECT, behind which it reads and sends nothing
  # asks: whether handle_delivery/4 is called for each message of the session
  # corked: commands to be written; marked: whether a message that ends the waiting is on its way
  # kept: what came before CONNECT, the last one first; then, what of it is not yet handled

  @doc "Turns the calling process into the connection of an accepted socket."
  @spec enter_loop(module, term, Transport.t(), Options.t()) :: no_return
  def enter_loop(module, args, transport, options) do
    case Transport.open(transport, options) do
      {:ok, connection, io} ->
        send(self(), {:"$mqtt", :start})
        loop(connection, io, %{}, start_arguments(module, args, options))

      {:error, reason} ->
        exit({:shutdown, open_reason(reason)})
    end
  end

  # The peer was quicker, by one of its names.
  defp open_reason(reason) when reason in [:closed, :einval, :enotconn, :econnreset, :ebadf],
    do: :closed

  defp open_reason(reason), do: {:socket_error, reason}

  @doc "What is the same for all connections of a handler."
  @spec start_arguments(module, term, Options.t()) :: map
  def start_arguments(module, args, options) do
    loop_options = [hibernate_after: options.hibernate_after]
    %{handler: {module, args}, optional: Handler.new(module), loop_options: loop_options}
  end

  @doc "Turns the calling process into the connection of a client that waits at a listener."
  @spec enter_taken(reference, map) :: no_return
  def enter_taken(listener, start) do
    # So that terminate/2 runs when the supervisor ends the process.
    Process.flag(:trap_exit, true)

    case Native.listener_take(listener) do
      {:ok, connection, {peer, local}} ->
        send(self(), {:"$mqtt", :start})
        loop(connection, :native, %{transport: :tcp, peer: peer, local: local}, start)

      {:error, :closed} ->
        exit({:shutdown, :closed})
    end
  end

  defp loop(connection, io, params, %{handler: {module, args}} = start) do
    s = %__MODULE__{
      module: module,
      handler: start.optional,
      state: args,
      connection: connection,
      io: io,
      corked: Events.none(),
      params: params
    }

    Process.put(:"$mqtt_connection", connection)
    :gen_server.enter_loop(__MODULE__, start.loop_options, s)
  end

  @doc "See `MQTT.Server.info/1`."
  @spec info(GenServer.server()) :: MQTT.Server.info()
  def info(process), do: GenServer.call(process, {:"$mqtt", :info})

  @doc "See `MQTT.Server.connection/0`."
  @spec current() :: reference | nil
  def current, do: Process.get(:"$mqtt_connection")

  @doc """
  Whether what this process publishes to others is on hold, as it is in a connection until all that has come
  is handled, or for a moment, in case that takes long.
  """
  @spec hold?() :: boolean
  def hold? do
    case {current(), Process.get(:"$mqtt_hold")} do
      {nil, _} -> false
      {_, nil} -> Process.put(:"$mqtt_hold", Writer.hold(@hold)) == nil
      {_, held} -> Writer.held?(held)
    end
  end

  defp release do
    held = Process.delete(:"$mqtt_hold")
    if held, do: Writer.tell(held)
  end

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
  def handle_info({:"$mqtt", {:cork, before}}, %{corked: {_, count, _, _, _}} = s)
      when count > before do
    :erlang.yield()
    mark(count)
    {:noreply, s}
  end

  def handle_info({:"$mqtt", {:cork, _before}}, s), do: flush(%{s | marked: false})

  def handle_info({:"$mqtt", :start}, s) do
    case s |> describe() |> read() do
      {:noreply, %{phase: :connecting} = s} -> check_time(s)
      other -> other
    end
  end

  def handle_info({:"$mqtt", :check_time}, s), do: check_time(s)
  def handle_info({:"$mqtt", :send_timeout}, s), do: {:stop, {:shutdown, :send_timeout}, s}
  def handle_info({:"$mqtt", :send_queue_full}, s), do: {:stop, {:shutdown, :send_queue_full}, s}
  def handle_info({:"$mqtt", :session}, s), do: [] |> write(s) |> and_then(&ask/1)
  def handle_info({:"$mqtt", :output}, s), do: write([], s)

  def handle_info({:"$mqtt", {:session_taken_over, _clean}}, s),
    do: {:stop, {:shutdown, :session_taken_over}, s}

  def handle_info({:"$mqtt", _readable_or_more_or_drained}, s),
    do: s |> read() |> and_then(&ask/1)

  def handle_info({:ssl, socket, data}, %{io: {:ssl, socket}} = s),
    do: data |> feed(s) |> and_then(&ask/1)

  def handle_info({:ssl_closed, socket}, %{io: {:ssl, socket}} = s),
    do: {:stop, {:shutdown, :closed}, s}

  def handle_info({:ssl_error, socket, reason}, %{io: {:ssl, socket}} = s),
    do: {:stop, {:shutdown, {:socket_error, reason}}, s}

  def handle_info(message, %{phase: :connected} = s) do
    s.handler.handle_info.(message, s.state) |> returned(s)
  end

  def handle_info(message, s), do: keep({:info, message}, s)

  # One kept message after the other, each with the state that the one before it left.
  @impl true
  def handle_continue(:kept, %{kept: []} = s) do
    # Most clients are silent now. What CONNECT took is given back before many others have come.
    with {:noreply, s} <- s |> read() |> and_then(&ask/1), do: {:noreply, s, :hibernate}
  end

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
    result = s.module.code_change(old_vsn, s.state, extra)
    _ = release()
    with {:ok, state} <- result, do: {:ok, %{s | state: state}}
  end

  def code_change(_old_vsn, s, _extra), do: {:ok, s}

  @impl true
  def terminate(reason, s) do
    s = s |> flush() |> state_of()
    _ = say_goodbye(reason, s)
    if s.phase == :connected, do: finish(reason, s)
  after
    _ = release()
    Native.connection_close(s.connection, not s.left and linger?(reason))
    with {:ssl, socket} <- s.io, do: :ssl.close(socket)
  end

  # What a step left behind, where an error is of no more use.
  defp state_of({:noreply, s}), do: s
  defp state_of({:stop, _reason, s}), do: s

  # terminate/2 comes last, also when one of the callbacks before it raises.
  defp finish(reason, s) do
    s =
      try do
        s |> publish_will() |> lose()
      catch
        kind, value ->
          s.module.terminate(reason, s.state)
          :erlang.raise(kind, value, __STACKTRACE__)
      end

    s.module.terminate(reason, s.state)
  end

  # MQTT 5.0 tells the client why, unless that was done or the client is gone.
  defp say_goodbye({:shutdown, :closed}, s), do: {:noreply, s}
  defp say_goodbye(_reason, %{left: true} = s), do: {:noreply, s}

  defp say_goodbye(reason, s) do
    code =
      case reason do
        :normal -> 0x00
        :shutdown -> Reason.code(:server_shutting_down)
        {:shutdown, {:protocol_error, violation}} -> Reason.fetch(violation)
        {:shutdown, reason} -> Reason.fetch(reason)
        _ -> Reason.code(:implementation_specific_error)
      end

    case code do
      {:ok, code} -> disconnect(code, %{}, s)
      :error -> disconnect(Reason.code(:unspecified_error), %{}, s)
      code -> disconnect(code, %{}, s)
    end
  end

  # The will that was to be published for the handler.
  defp publish_will(%{will: nil} = s), do: s

  defp publish_will(s), do: %{s | state: Will.publish(s.will, s.module, s.state)}

  defp forget_will(%{will: nil} = s), do: s

  defp forget_will(s) do
    Will.Guard.leave()
    %{s | will: nil}
  end

  # Nothing more will be known of these.
  defp lose(s) do
    for {_number, refs} <- Enum.sort(s.refs), ref <- refs, reduce: s do
      s -> ref |> tell_delivered({:error, :connection_lost}, s, &apply/3) |> state_of()
    end
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

  defp received({events, deliveries, next}, s) do
    # What has become of messages comes behind what the client sent.
    case handle_events(events, s) do
      {:noreply, s} -> deliveries |> delivered(s) |> and_then(&next(&1, next))
      {:stop, reason, s} -> {:stop, reason, deliveries |> delivered(s) |> state_of()}
    end
  end

  defp received({[{:connect, params}], :decide}, s), do: connect(params, s)

  defp received({[{:auth, code, properties}], :decide}, %{phase: :authenticating} = s) do
    s.module.handle_auth(Reason.name(code), properties, s.state) |> decided(s)
  end

  defp received({events, next}, s), do: events |> handle_events(s) |> and_then(&next(&1, next))

  defp handle_events([], s), do: write_ssl(s)

  # Its DISCONNECT.
  defp handle_events(_events, %{phase: :authenticating} = s), do: {:stop, {:shutdown, :closed}, s}

  defp handle_events(events, s) do
    result = Events.handle(events, s.handler, s.state, s.corked)
    _ = release()

    case result do
      {:ok, state, commands} ->
        flush(%{s | state: state, corked: commands})

      {:stop, reason, state, commands} ->
        {:stop, reason, %{s | state: state, corked: commands}}

      {:disconnect, code, properties, state, commands} ->
        disconnected(code, properties, %{s | state: state, corked: commands})
    end
  end

  # The client's DISCONNECT. Only one that says nothing else forgets the will [MQTT-3.14.4-3].
  defp disconnected(0x00, properties, s) do
    disconnected(:normal_disconnection, properties, :normal, %{forget_will(s) | left: true})
  end

  defp disconnected(code, properties, s) do
    name = Reason.name(code)
    disconnected(name, properties, {:shutdown, {:disconnected, name}}, %{s | left: true})
  end

  defp disconnected(name, properties, reason, s) do
    if :handle_disconnect in s.handler.optional do
      case s.module.handle_disconnect(name, properties, s.state) |> returned(s) do
        {:noreply, s} -> {:stop, reason, s}
        stop -> stop
      end
    else
      {:stop, reason, s}
    end
  end

  # What has become of messages, in the order in which it was found out.
  defp delivered(deliveries, s) do
    each(deliveries, s, fn {number, result}, s ->
      # If it was an earlier connection's, that has been told that it lost it.
      {refs, others} = Map.pop(s.refs, number, [])
      refs |> Enum.reverse() |> each(%{s | refs: others}, &tell_delivered(&1, result, &2))
    end)
  end

  defp tell_delivered(ref, result, s, call \\ &Events.call/3) do
    result =
      case result do
        {:error, {:refused, code}} -> {:error, {:refused, Reason.name(code)}}
        other -> other
      end

    if :handle_delivered in s.handler.optional,
      do: s.module |> call.(:handle_delivered, [ref, result, s.state]) |> returned(s),
      else: {:noreply, s}
  end

  # What waits for handle_delivery/4, some messages at a time. Then others have their turn.
  defp ask(%{asks: false} = s), do: {:noreply, s}

  defp ask(s) do
    case Native.connection_offer(s.connection) do
      {[], []} ->
        {:noreply, s}

      {offered, dropped} ->
        send(self(), {:"$mqtt", :session})
        dropped |> each(s, &dropped/2) |> and_then(&decide_on(offered, &1))
    end
  end

  defp decide_on([], s), do: {:noreply, s}

  defp decide_on(offered, s) do
    result = Deliveries.decide(offered, s.handler, s.state, s.refs)
    _ = release()

    case result do
      {:ok, decisions, state, refs} ->
        write([{:decided, decisions}], %{s | state: state, refs: refs})

      # What it said before is done.
      {:stop, reason, decisions, state, refs} ->
        s = write([{:decided, decisions}], %{s | state: state, refs: refs}) |> state_of()
        {:stop, reason, s}
    end
  end

  defp dropped({{topic, message, opts}, reason}, s) do
    if :handle_dropped in s.handler.optional do
      s.module
      |> Events.call(:handle_dropped, [topic, message, opts, reason, s.state])
      |> returned(s)
    else
      {:noreply, s}
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
    id = Accepting.assigned_id(params)
    params = if id, do: %{params | client_id: id}, else: params
    params = Map.merge(params, s.params)
    s.module.init(s.state, params) |> decided(%{s | params: params, assigned_id: id})
  end

  # What init/2 said, and handle_auth/3 until the client is accepted.
  defp decided(result, s) do
    _ = release()
    decide(result, s)
  end

  defp decide({:ok, state}, s), do: accept(state, [], s)
  defp decide({:ok, state, actions}, s), do: accept(state, List.wrap(actions), s)

  defp decide({:continue, properties, state}, s) do
    Native.connection_authenticate(s.connection, 0x18, properties)
    |> said({:auth, properties}, %{s | state: state, phase: :authenticating})
    |> and_then(&check_time/1)
    |> and_then(&next(&1, :more))
  end

  defp decide({:error, reason, _state}, s), do: reject(reason, s)
  defp decide({:stop, reason}, s), do: reject(reason, s)
  defp decide(other, s), do: {:stop, {:bad_return_value, other}, s}

  defp accept(state, actions, s) do
    {told, actions} = Accepting.split(actions)

    case Accepting.check(told, s.handler) do
      :ok -> accept(told, state, actions, s)
      {:error, reason} -> {:stop, reason, s}
    end
  end

  defp accept(%Accepting{asks: asks} = told, state, actions, s) do
    session = session(told.session, s)
    will = if told.will, do: Will.new(s.params[:last_will])
    clean = s.params.clean_session
    kept = Enum.reverse(s.kept)
    id = s.assigned_id
    s = %{s | state: state, params: nil, kept: kept, will: will, asks: asks}

    {session && {session, asks}, clean, id, told.properties, told.route}
    |> accept_natively(s.connection)
    |> said({:connack, told.properties}, s)
    |> and_then(&{:noreply, %{&1 | phase: :connected}})
    |> and_then(&watch_will/1)
    |> and_then(&if(session, do: write([], &1), else: {:noreply, &1}))
    |> and_then(&act(actions, state, &1))
    |> and_then(&flush/1)
    |> and_then(&ask/1)
    |> and_then(&check_time/1)
    |> and_then(&{:noreply, &1, {:continue, :kept}})
  end

  # With much to forget it is for a dirty scheduler.
  defp accept_natively(accepted, connection) do
    with :large <- Native.connection_accept(connection, accepted),
         do: Native.connection_accept_large(connection, accepted)
  end

  defp watch_will(s) do
    if s.will, do: Will.Guard.watch(s.will, s.module, s.state)
    {:noreply, s}
  end

  defp session(nil, _s), do: nil

  defp session(session, s) do
    session = if session == :new, do: Native.connection_new_session(s.connection), else: session
    Session.put_current(session)
    session
  end

  defp reject(reason, s) do
    case Accepting.rejection(reason) do
      {:ok, code, exact, properties} ->
        Native.connection_reject(s.connection, code, exact, properties)
        |> said({:stop, {code, properties}}, s)
        |> and_then(&{:stop, :normal, &1})

      :error ->
        {:stop, reason, s}
    end
  end

  # A packet of its own. What was wrong with it was in what a callback returned.
  defp said(:ok, _what, s), do: write_ssl(s)
  defp said({:close, reason}, _what, s), do: {:stop, {:shutdown, reason}, s}

  defp said({:error, {:bad_action, reason}}, what, s),
    do: {:stop, Events.bad_action(what, words(reason)), s}

  defp keep(message, s), do: {:noreply, %{s | kept: [message | s.kept]}}

  # What is told to init/2 besides CONNECT.
  defp describe(%{params: %{transport: _}} = s), do: s

  defp describe(%{io: :native} = s) do
    {peer, local} = Native.connection_addresses(s.connection)
    %{s | params: %{transport: :tcp, peer: peer, local: local}}
  end

  defp describe(%{io: {:ssl, socket}} = s), do: %{s | params: Accepting.describe(socket)}

  ## Out

  defp returned(result, s) do
    _ = release()

    case result do
      {:ok, state} -> {:noreply, %{s | state: state}}
      {:ok, state, actions} -> act(actions, state, s)
      {:stop, reason} -> {:stop, reason, s}
      other -> {:stop, {:bad_return_value, other}, s}
    end
  end

  # This runs for each message of another process, so the struct is copied once.
  defp act([], state, s), do: {:noreply, %{s | state: state}}

  defp act(actions, state, s) do
    case Events.add(actions, s.corked) do
      {:ok, {commands, count, bytes, ours?, refs} = corked} ->
        cond do
          ours? or count >= @max_corked or bytes >= @max_corked_bytes ->
            flush(%{s | state: state, corked: corked})

          s.marked ->
            {:noreply, %{s | state: state, corked: corked}}

          match?([_], commands) and empty?() ->
            send_off(
              commands,
              ours?,
              %{s | state: state, refs: Deliveries.remember(s.refs, refs)},
              true
            )

          true ->
            mark(0)
            {:noreply, %{s | state: state, corked: corked, marked: true}}
        end

      {:error, reason, corked} ->
        {:stop, reason, %{s | state: state, corked: corked}}
    end
  end

  defp empty?, do: Process.info(self(), :message_queue_len) == {:message_queue_len, 0}

  # Behind the messages that are in the mailbox now.
  defp mark(count), do: send(self(), {:"$mqtt", {:cork, count}})

  defp flush(%{corked: {[], _, _, _, _}} = s), do: write_ssl(s)

  defp flush(%{corked: {commands, _, _, ours?, refs}} = s) do
    s = %{s | corked: Events.none(), refs: Deliveries.remember(s.refs, refs)}
    commands |> Enum.reverse() |> send_off(ours?, s, false)
  end

  # With `alone`, the command may be left to a writer, if there are many such.
  defp send_off(commands, ours?, s, alone) do
    # What they have put into the session waits for handle_delivery/4, but not within this callback.
    if s.asks, do: send(self(), {:"$mqtt", :session})
    if ours?, do: write_in_turn(commands, s), else: write(commands, s, false, alone)
  end

  defp write(commands, s, again \\ false, alone \\ false) do
    Native.connection_send(s.connection, commands, again, alone) |> written(s)
  end

  # What was published before a reply is written before it.
  defp write_in_turn(commands, s) do
    case Enum.split_while(commands, &(not ours?(&1))) do
      {[], [ours | rest]} -> ours |> carry_out(s) |> and_then(&write_in_turn(rest, &1))
      {[], []} -> {:noreply, s}
      {commands, rest} -> commands |> write(s) |> and_then(&write_in_turn(rest, &1))
    end
  end

  defp ours?(command), do: elem_0(command) in [:reply, :auth, :disconnect]

  defp elem_0(command) when is_tuple(command), do: elem(command, 0)
  defp elem_0(command), do: command

  defp carry_out({:reply, from, reply}, s) do
    :gen_server.reply(from, reply)
    {:noreply, s}
  end

  defp carry_out({:auth, code, properties}, s) do
    Native.connection_authenticate(s.connection, code, properties)
    |> said({:auth, properties}, s)
  end

  defp carry_out({:disconnect, code, properties}, s) do
    name = if code == 0x00, do: :normal_disconnection, else: Reason.name(code)
    reason = {:shutdown, {:disconnect, name}}
    code |> disconnect(properties, s) |> and_then(&{:stop, reason, &1})
  end

  defp disconnect(code, properties, s) do
    Native.connection_disconnect(s.connection, code, properties)
    |> said({:disconnect, Reason.name(code), properties}, s)
  end

  defp written(:ok, s), do: write_ssl(s)
  # So many that one call did not do.
  defp written({:more, commands}, s), do: s |> write_ssl() |> and_then(&write(commands, &1, true))
  defp written({:close, reason}, s), do: {:stop, {:shutdown, reason}, s}

  defp written({:delivered, deliveries, outcome}, s) do
    case delivered(deliveries, s) do
      {:noreply, s} -> written(outcome, s)
      # What is left is not carried out any more.
      stop -> stop
    end
  end

  defp written({:error, {:bad_action, action, reason}}, s),
    do: {:stop, Events.bad_action(action, words(reason)), s}

  defp words(reason), do: String.replace(to_string(reason), "_", " ")

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

  # One step after the other, until one of them stops.
  defp each([], s, _step), do: {:noreply, s}
  defp each([item | items], s, step), do: item |> step.(s) |> and_then(&each(items, &1, step))
end
