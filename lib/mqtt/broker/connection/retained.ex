defmodule MQTT.Broker.Connection.Retained do
  @moduledoc false
  # The retained messages that are due to a session since it has subscribed to them.
  #
  # A row of the table is {session, number, due}, where `due` has {filter, options, cursor} of each subscription, the first
  # one first, and the number is that of the connection that sends them. The row outlasts the connection, as the
  # subscriptions do, and the next one goes on with it. So one that is slow to notice that it has lost the session, or was killed, leaves
  # it as it is.

  alias MQTT.{Router, Session}
  alias MQTT.Broker.Context

  # How long to wait before a client is looked at again that has not read what was retained, in milliseconds: at first, and at most.
  @retry 20
  @longest_retry 1_000

  # So many subscriptions that are done are taken out of the row together.
  @at_once 64

  @typedoc "Of a connection, see `MQTT.Broker.Sessions`."
  @type connection :: pos_integer

  @doc "The table."
  @spec new :: :ets.tid()
  def new, do: :ets.new(:mqtt_retained, [:public, write_concurrency: true])

  @doc "There are no such subscriptions any more."
  @spec forget(Context.t(), Session.t()) :: true
  def forget(context, session), do: :ets.delete(context.retained, session)

  @doc "The same for those of connections before."
  @spec forget_before(Context.t(), Session.t(), connection) :: true
  def forget_before(context, session, number) do
    with [{_, last, _} = row] when last < number <- :ets.lookup(context.retained, session),
         do: :ets.delete_object(context.retained, row)

    true
  end

  @doc "Whether something is due."
  @spec due?(Context.t(), Session.t()) :: boolean
  def due?(context, session), do: :ets.member(context.retained, session)

  @doc "What is retained for a subscription is due, behind that of those before it."
  @spec add(Context.t(), Session.t(), connection, String.t(), map, Router.cursor()) :: :ok
  def add(context, session, number, filter, options, cursor) do
    entry = {filter, options, cursor}

    case row(context, session, number) do
      nil -> :ets.insert_new(context.retained, {session, number, [entry]})
      {_, _, due} = row -> replace(context, row, List.keydelete(due, filter, 0) ++ [entry])
    end

    :ok
  end

  @doc "A subscription has other options. What it was to get goes on, as the new one has it."
  @spec change(Context.t(), Session.t(), connection, String.t(), map) :: :ok
  def change(context, session, number, filter, options) do
    with {_, _, due} = row <- row(context, session, number),
         {_, _, cursor} <- List.keyfind(due, filter, 0),
         do: replace(context, row, List.keyreplace(due, filter, 0, {filter, options, cursor}))

    :ok
  end

  @doc "A subscription has ended."
  @spec remove(Context.t(), Session.t(), connection, String.t()) :: :ok
  def remove(context, session, number, filter) do
    with {_, _, due} = row <- row(context, session, number),
         do: replace(context, row, List.keydelete(due, filter, 0))

    :ok
  end

  @doc """
  Sends some of it to the client of the calling process. Says whether that was `:done`, or more is to be sent `:now`, behind what has come, or
  after some milliseconds, and with which argument.
  """
  @spec send_some(Context.t(), Session.t(), connection, retry :: pos_integer) ::
          :done | :now | {:after, pos_integer, retry :: pos_integer}
  def send_some(context, session, number, retry \\ @retry) do
    case row(context, session, number) do
      {_, _, [_ | _] = due} = row ->
        {sent, rest} = send_at_most(@at_once, due, context.router)
        replace(context, row, rest)
        next(sent, rest, retry)

      _ ->
        :done
    end
  end

  # One after the other, until one is not done.
  defp send_at_most(count, [{filter, options, cursor} | others], router) do
    case Router.send_retained(router, MQTT.Server.connection(), filter, options, cursor) do
      :done when others != [] and count > 1 -> send_at_most(count - 1, others, router)
      :done -> {:done, others}
      {_, cursor} = sent -> {sent, [{filter, options, cursor} | others]}
    end
  end

  defp next({:gone, _cursor}, _others, _retry), do: :done
  defp next({:wait, _cursor}, _others, retry), do: {:after, retry, min(2 * retry, @longest_retry)}
  defp next(:done, [], _retry), do: :done
  defp next(_done_or_more, _others, _retry), do: :now

  # None if a newer connection has it. What another one has left is this one's now.
  defp row(context, session, number) do
    case :ets.lookup(context.retained, session) do
      [{_, ^number, _} = row] -> row
      [{_, last, due}] when last < number -> take(context, {session, last, due}, number)
      _ -> nil
    end
  end

  # The other may have added to it while it lost the session, with its subscriptions.
  defp take(context, {session, _last, due} = row, number) do
    filters =
      for {filter, _options} <- Session.subscriptions(session), into: MapSet.new(), do: filter

    due = for {filter, _, _} = entry <- due, filter in filters, do: entry

    if put(context, row, {session, number, due}),
      do: {session, number, due},
      else: row(context, session, number)
  end

  defp replace(context, row, []), do: :ets.delete_object(context.retained, row)

  defp replace(context, {session, number, _} = row, due),
    do: put(context, row, {session, number, due})

  # In the place of one that only its own connection changes, unless a newer one has taken it.
  defp put(context, {session, last, _due}, {session, number, due}) do
    row = {session, last, :_}
    next = {{session, number, {:const, due}}}
    :ets.select_replace(context.retained, [{row, [], [next]}]) == 1
  end
end
